"""Reviews: what critics said of films, and what patients said of drugs."""

import bz2
import csv
import html
import io
import zipfile
from collections.abc import Mapping

import numpy as np

from dpjax.datasets.entries import RawArrays
from dpjax.datasets.splits import split_whole_units
from dpjax.datasets.texts import first_of_each, spaced, text_array
from dpjax.fetching.sources import DatasetError

SNIPPET_CLASSES = ("rotten", "fresh")
DRUG_CLASSES = ("negative", "neutral", "positive")


def decode_rotten_tomatoes(files: Mapping[str, bytes]) -> RawArrays:
    """Reads the critics' snippets; films are split 80/20, so that no film stands on both sides.

    Args:
      files: one ``.csv.bz2`` with the columns category, text and movie_name; summaries of plots are left out.

    Returns:
      Texts ``[rows]``; labels 0 rotten, 1 fresh; units are the films, those that train first, with their names.

    Raises:
      DatasetError: a category is not a documented one.
    """
    ((path, content),) = files.items()
    snippets = []
    for line, row in enumerate(_table(bz2.decompress(content).decode(), ","), 2):
        if row["category"] != "plot":
            if row["category"] not in SNIPPET_CLASSES:
                raise DatasetError(
                    f"data.name='rotten_tomatoes': row {line} of {path} is of category {row['category']!r}; "
                    f"it must be one of {', '.join(SNIPPET_CLASSES)}"
                )
            snippets.append((row["text"].strip(), SNIPPET_CLASSES.index(row["category"]), row["movie_name"]))
    firsts = first_of_each([text for text, _, _ in snippets])
    texts, labels, films = zip(*(snippets[i] for i in firsts), strict=True)
    names, owners = np.unique(np.array(films), return_inverse=True)
    split = split_whole_units(np.arange(len(texts)), np.array(labels), owners)
    unit_names = np.empty(split.num_units, names.dtype)
    for rows, units in ((split.train_inputs, split.train_units), (split.test_inputs, split.test_units)):
        unit_names[units] = names[owners[rows]]
    stored = text_array(texts)
    return split._replace(
        train_inputs=stored[split.train_inputs], test_inputs=stored[split.test_inputs], unit_names=unit_names
    )


def decode_drug_reviews(files: Mapping[str, bytes]) -> RawArrays:
    """Reads patients' reviews of drugs out of the zip, in the package's own split.

    Args:
      files: one zip that holds ``drugsComTrain.tsv`` and ``drugsComTest.tsv``, with the columns review and rating.

    Returns:
      Texts ``[rows]`` without the quotation marks around them and with HTML's references resolved; labels 0 negative,
      1 neutral, 2 positive. A review that stands in both parts stays in the first.

    Raises:
      DatasetError: a rating is not a documented one.
    """
    ((path, content),) = files.items()
    parts, seen = [], set[str]()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for file in ("drugsComTrain.tsv", "drugsComTest.tsv"):
            texts, labels = [], []
            for line, row in enumerate(_table(archive.read(file).decode(), "\t"), 2):
                if row["rating"] not in DRUG_CLASSES:
                    raise DatasetError(
                        f"data.name='drug_reviews': row {line} of {file} in {path} is rated {row['rating']!r}; "
                        f"it must be one of {', '.join(DRUG_CLASSES)}"
                    )
                texts.append(html.unescape(row["review"]).strip().removeprefix('"').removesuffix('"').strip())
                labels.append(DRUG_CLASSES.index(row["rating"]))
            firsts = first_of_each(texts, seen=seen)
            seen |= {spaced(texts[i]) for i in firsts}
            parts += [text_array([texts[i] for i in firsts]), np.array([labels[i] for i in firsts], np.int32)]
    return RawArrays(*parts)


def _table(text: str, delimiter: str) -> csv.DictReader:
    return csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
