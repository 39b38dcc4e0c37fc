"""What a config says of data: where they lie, what their columns are for, and what is planted among them."""

from dataclasses import dataclass
from typing import Any

from experiments.field_kinds import static


@dataclass(frozen=True)
class DataConf:
    name: str = static("digits", "name in `dpjax data list`, or own: the table in data.path")
    path: str = static(
        "",
        "own: CSV, TSV, JSON, Parquet or Arrow file, .npz of arrays, a folder with a train and a test file, or one of "
        "images",
    )
    label: str = static("", "own: column that is predicted; of images without a table empty: their folders")
    text: list[str] = static(
        [],
        "own: column of texts, two of pairs, or three (prompt, chosen, rejected), for model=pretrained; []: a table or "
        "images",
    )
    messages: list[str] = static(
        [],
        "own: column of conversations (lists of role and content), two of prompt and answer, or three (prompt, chosen, "
        "rejected), which the checkpoint's chat template writes, for model=pretrained; []: none",
    )
    tokens: str = static("", "own: column of token ids, lists of whole numbers, for model=pretrained; empty: no ids")
    padding: int | None = static(None, "own: token id that stands for nothing at the ends of rows; null: none does")
    mask: str | None = static(None, "own: column of 1 and 0 that says which are token ids, or of how many; null: all")
    size: list[int] = static([], "own: height and width that images are scaled to; []: they are of one size")
    channels: int | None = static(None, "own: 1 (grey) or 3 (colours) that images become; null: they are of one kind")
    unit: str | None = static(None, "own: column that says whose a row is, as patient_id; null: rows stand alone")
    split: str | None = static(
        None,
        "own: who is tested: owner (whole owners), rows, time or column (by data.split_column), or files; null: by "
        "what there is",
    )
    split_column: str | None = static(None, "own: dates of split=time, or train and test of split=column")
    split_at: str | None = static(
        None, "own: first date or number of split_column that tests; null: of the last fifth, read off the rows"
    )
    encoding: str | None = static(None, "own: of the file's characters, as cp1252; null: UTF-8")
    decimal: str = static(".", "own: '.' or ',' before the decimals of numbers")
    columns: dict[str, Any] = static(
        {}, "own: what is public of columns: age: [0, 120], sex: [f, m], note: skip; the rest is learnt from the rows"
    )
    missing: list[str] = static([], "own: what stands for a missing value, besides NA, null, ? and the like")
    classes: list[str] = static([], "own: names of the classes, in their order; []: those that are found")
    target: str = static("class", "own: what the label is: a class, or a number")
    target_range: list[float] = static(
        [], "own: least and largest label of target=number, as [0, 500]; []: of the training rows, and so learnt"
    )
    on_disk: bool = static(
        False,
        "own: training rows stay on disk, of Parquet or Arrow files larger than memory; all of columns, classes or "
        "target_range must be said",
    )
    release: list[str] = static(
        [], "own: columns whose range or values are computed from noisy counts of units, which ε includes; []: none"
    )
    release_noise_multiplier: float = static(
        10.0, "own: of those counts: noise standard deviation / the most that one unit moves all of them"
    )
    release_seed: int = static(0, "own: of that noise; the same for all points and seeds, so that inputs are, too")
    raw: str = static(
        "table",
        "own: table, documents (a folder of .txt, .docx and .pdf) or mailbox (mbox or maildir), whose texts and owners "
        "become the columns text and owner",
    )
    owners: str = static(
        "",
        "raw=documents: whose a file is, as '{owner}/*' or '{owner}_*.txt', or a table of file and owner; empty: the "
        "first folder",
    )
    quotes: bool = static(
        False, "raw=mailbox: keep what mails quote, which are other persons' words that the sender's ε does not protect"
    )
    piece_words: int | None = static(
        None, "own: words at which longer texts are cut into rows of the same owner; null: texts stay whole"
    )
    pseudonymise: bool = static(
        False,
        "own: addresses, dates and long numbers in texts become placeholders; no anonymisation, no substitute for ε",
    )
    canaries: int = static(
        0, "secrets that are planted, each as a person of its own, to measure their exposure; 0: none"
    )
    canary_repetitions: list[int] = static([1, 4, 16], "how often they are planted, in turn")
    canary_form: str = static(
        "The access code is ########.", "their text; # becomes a random digit, @ one of 64 random words"
    )
    canary_candidates: int = static(1024, "texts of that form that a secret is ranked among, itself included")
    canary_seed: int = static(0, "of their draws; the same for all points and seeds")
    validation: float = static(
        0.0, "share of the training rows, or of their owners, kept out of training for validation_accuracy"
    )
    num_train: int | None = static(None, "training rows to keep, of a fixed shuffle; null: all")
    num_evaluated: int | None = static(
        None, "training rows that train_accuracy is of; null: all, or 512 with model=pretrained"
    )
