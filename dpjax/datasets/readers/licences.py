"""Texts of software licences, by what they ask of who uses the software."""

import re
from collections.abc import Mapping

import numpy as np

from dpjax.datasets.entries import RawArrays
from dpjax.datasets.splits import split_whole_groups
from dpjax.datasets.texts import first_of_each, text_array
from dpjax.fetching.sources import DatasetError

CLASS_NAMES = (
    "CLA",
    "Commercial",
    "Copyleft",
    "Copyleft Limited",
    "Free Restricted",
    "Patent License",
    "Permissive",
    "Proprietary Free",
    "Public Domain",
    "Source-available",
    "Unstated License",
)
_FILE = re.compile(r"---\n(?P<fields>.*?)\n---[ \t]*(\n(?P<text>.*))?\Z", re.DOTALL)
_FIELD = re.compile(r"^(\w+): *(.*?) *$", re.MULTILINE)


def family(key: str) -> str:
    """Returns the family of a licence: its key up to the first dash, without a version at the end.

    Example:
      >>> [family(key) for key in ("gpl-2.0-plus", "gpl-1.0", "gfdl-1.1", "zlib", "w3c", "x11-fsf", "389-exception")]
      ['gpl', 'gpl', 'gfdl', 'zlib', 'w3c', 'x', '389']
    """
    word = key.partition("-")[0]
    return word.rstrip("0123456789.") or word


def decode_licences(files: Mapping[str, bytes]) -> RawArrays:
    """Reads one licence a file; families of licences are split 80/20, by category.

    Args:
      files: path → front matter (lines of ``field: value`` between two lines of dashes) and the licence's text.

    Returns:
      Texts ``[rows]``, each once, in random order; labels by category. Left out are licences flagged as deprecated
      and those without a text.

    Raises:
      DatasetError: a file has no front matter or an unknown category.
    """
    texts, labels, families = [], [], []
    for path in sorted(files):
        file = _FILE.match(files[path].decode())
        fields = dict(_FIELD.findall(file["fields"])) if file else {}
        if file is None or fields.get("category") not in CLASS_NAMES:
            raise DatasetError(
                f"data.name='licences': {path} is of category {fields.get('category')!r}; "
                f"it must be one of {', '.join(CLASS_NAMES)}"
            )
        if fields.get("is_deprecated") not in ("yes", "true"):
            texts.append((file["text"] or "").strip())
            labels.append(CLASS_NAMES.index(fields["category"]))
            families.append(family(fields["key"]))
    firsts = first_of_each(texts)
    groups = np.unique(np.array(families), return_inverse=True)[1]
    return split_whole_groups(text_array([texts[i] for i in firsts]), np.array(labels)[firsts], groups[firsts])
