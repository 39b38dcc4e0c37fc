"""News: the BBC's stories by section, and Reuters' telegrams of 1987 by topic."""

from collections.abc import Mapping

import numpy as np

from dpjax.datasets.entries import RawArrays
from dpjax.datasets.splits import stratified_split
from dpjax.datasets.texts import first_of_each, spaced, text_array
from dpjax.fetching.sources import DatasetError

BBC_CLASSES = ("business", "entertainment", "politics", "sports", "tech")
R8_CLASSES = ("acq", "crude", "earn", "grain", "interest", "money-fx", "ship", "trade")


def decode_bbc_news(files: Mapping[str, bytes]) -> RawArrays:
    """Reads one story a file, headline first; split 80/20 by class.

    Args:
      files: ``…/<class>/<number>.txt`` → text in UTF-8, or in Latin-1 where it is no UTF-8.

    Returns:
      Texts ``[rows]``, each once; labels by section.
    """
    texts, labels = [], []
    for path in sorted(files):
        try:
            text = files[path].decode()
        except UnicodeDecodeError:  # one file of the package
            text = files[path].decode("latin1")
        texts.append(text.strip())
        labels.append(BBC_CLASSES.index(path.split("/")[-2]))
    firsts = first_of_each(texts)
    return stratified_split(text_array([texts[i] for i in firsts]), np.array(labels)[firsts])


def decode_reuters_r8(files: Mapping[str, bytes]) -> RawArrays:
    """Reads the telegrams in their official split.

    Args:
      files: ``…-train.tab`` and ``…-test.tab``: three lines of header, then topic, tabulator, text.

    Returns:
      Texts ``[rows]``, each once, in the order of the files; labels by topic. A telegram of both parts stays in
      training.

    Raises:
      DatasetError: a row is not of that form.
    """
    parts, seen = [], set[str]()
    for path in sorted(files, reverse=True):  # train before test
        texts, labels = [], []
        for line, row in enumerate(files[path].decode().split("\n")[3:], 4):
            topic, tab, text = row.partition("\t")
            if row and (not tab or topic not in R8_CLASSES):
                raise DatasetError(
                    f"data.name='reuters_r8': line {line} of {path} begins with {topic[:20]!r}; "
                    f"it must begin with one of {', '.join(R8_CLASSES)} and a tabulator"
                )
            if row:
                texts.append(text.strip())
                labels.append(R8_CLASSES.index(topic))
        firsts = first_of_each(texts, seen=seen)
        seen |= {spaced(texts[i]) for i in firsts}
        parts += [text_array([texts[i] for i in firsts]), np.array(labels, np.int32)[firsts]]
    return RawArrays(*parts)
