"""The registry's entries of texts that only the hub has: four tasks of GLUE, and restaurants for completion."""

from functools import partial

from dpjax.datasets.entries import Entry, HubSource
from dpjax.datasets.texts import keep_texts

_GLUE = "Hub only; its content is not pinned by a hash yet. The hub's test labels are hidden, so the test set here is "
_GLUE_CITATION = "A. Wang et al., GLUE: A multi-task benchmark and analysis platform, ICLR, 2019; "
_document = partial(Entry, task="document", encode=keep_texts, content_sha256=None)

ENTRIES: tuple[Entry, ...] = (
    _document(
        name="sst2",
        title="SST-2",
        summary="One row is a phrase of a film review; predict whether it is for or against the film.",
        input_shape=(),
        num_train=67_349,
        num_test=872,
        class_names=("negative", "positive"),
        licence="none stated; used for research, as commonly stated; check before you redistribute it",
        citation=f"{_GLUE_CITATION}R. Socher et al., Recursive deep models, EMNLP, 2013",
        encoding="as written; official train and validation sets",
        sources=(HubSource("stanfordnlp/sst2", test_split="validation", text_columns=("sentence",)),),
        note=f"{_GLUE}GLUE's validation set. Rows train as phrases of one sentence, so privacy by row is not by "
        "review. Without the hub take rotten_tomatoes.",
    ),
    _document(
        name="qnli",
        title="QNLI",
        summary="One row is a question and a sentence of Wikipedia; predict whether the sentence answers it.",
        input_shape=(2,),
        num_train=104_743,
        num_test=5_463,
        class_names=("entailment", "not_entailment"),
        licence="CC BY-SA 4.0 (SQuAD), as commonly stated; check before you redistribute it",
        citation=f"{_GLUE_CITATION}P. Rajpurkar et al., SQuAD, EMNLP, 2016",
        encoding="pairs as written; official train and validation sets",
        sources=(
            HubSource("nyu-mll/glue", config="qnli", test_split="validation", text_columns=("question", "sentence")),
        ),
        note=f"{_GLUE}GLUE's validation set.",
    ),
    _document(
        name="qqp",
        title="QQP",
        summary="One row is two questions asked at Quora; predict whether they ask the same.",
        input_shape=(2,),
        num_train=363_846,
        num_test=40_430,
        class_names=("not_duplicate", "duplicate"),
        licence="Quora's own, for non-commercial use, as commonly stated; check before you redistribute it",
        citation=f"{_GLUE_CITATION}Quora, First Quora dataset release: Question pairs, 2017",
        encoding="pairs as written; official train and validation sets",
        sources=(
            HubSource("nyu-mll/glue", config="qqp", test_split="validation", text_columns=("question1", "question2")),
        ),
        note=f"{_GLUE}GLUE's validation set. One question stands in many rows, so privacy by row is not by question.",
    ),
    _document(
        name="mnli",
        title="MNLI (matched)",
        summary="One row is a premise and a hypothesis; predict whether the first implies, allows or denies the "
        "second.",
        input_shape=(2,),
        num_train=392_702,
        num_test=9_815,
        class_names=("entailment", "neutral", "contradiction"),
        licence="OANC's own, CC BY 3.0, CC BY-SA 3.0 and public domain, by genre, as commonly stated; check before you "
        "redistribute it",
        citation=f"{_GLUE_CITATION}A. Williams et al., MultiNLI, NAACL, 2018",
        encoding="pairs as written; official train and matched validation sets",
        sources=(
            HubSource(
                "nyu-mll/glue", config="mnli", test_split="validation_matched", text_columns=("premise", "hypothesis")
            ),
        ),
        note=f"{_GLUE}the validation set of the genres that train.",
    ),
    _document(
        name="e2e",
        title="E2E restaurant descriptions",
        summary="One row is facts of a restaurant and a sentence that tells them; made for completion, so of one "
        "class.",
        input_shape=(2,),
        num_train=42_061,
        num_test=4_693,
        class_names=("description",),
        licence="CC BY-SA 4.0",
        citation="J. Novikova, O. Dušek and V. Rieser, The E2E dataset, SIGDIAL, 2017",
        encoding="pairs of meaning representation and human reference, as written; official train and test sets",
        sources=(
            HubSource(
                "tuetschek/e2e_nlg",
                label_column=None,
                text_columns=("meaning_representation", "human_reference"),
            ),
        ),
        note="Hub only; its content is not pinned by a hash yet. The original set, not the cleaned one of 2019.",
    ),
)
