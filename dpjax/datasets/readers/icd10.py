"""Diagnoses as the ICD-10-CM puts them in words, by the chapter that they stand in."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping

import numpy as np

from dpjax.datasets.entries import RawArrays
from dpjax.datasets.splits import split_whole_groups
from dpjax.datasets.texts import first_of_each, text_array
from dpjax.fetching.sources import DatasetError

CLASS_NAMES = (
    "infections (A00-B99)",
    "neoplasms (C00-D49)",
    "blood and immune mechanism (D50-D89)",
    "endocrine and metabolic (E00-E89)",
    "mental and behavioural (F01-F99)",
    "nervous system (G00-G99)",
    "eye (H00-H59)",
    "ear (H60-H95)",
    "circulatory system (I00-I99)",
    "respiratory system (J00-J99)",
    "digestive system (K00-K95)",
    "skin (L00-L99)",
    "musculoskeletal system (M00-M99)",
    "genitourinary system (N00-N99)",
    "pregnancy and childbirth (O00-O9A)",
    "perinatal period (P00-P96)",
    "congenital malformations (Q00-QA0)",
    "symptoms and findings (R00-R99)",
    "injury and poisoning (S00-T88)",
    "external causes (V00-Y99)",
    "health status and services (Z00-Z99)",
    "special purposes (U00-U85)",
)


def decode_icd10(files: Mapping[str, bytes]) -> RawArrays:
    """Reads the description of every code; categories, the first three characters of a code, are split 80/20.

    Args:
      files: the tabular list, as XML: chapters that hold ``diag`` elements within each other.

    Returns:
      Texts ``[rows]``, each once, in random order; labels by chapter. Headings of chapters and sections are left out.

    Raises:
      DatasetError: another number of chapters.
    """
    ((path, content),) = files.items()
    chapters = ElementTree.fromstring(content).findall("chapter")  # nosec B314 # its hash was compared
    if len(chapters) != len(CLASS_NAMES):
        raise DatasetError(f"data.name='icd10': {path} holds {len(chapters)} chapters; it must hold {len(CLASS_NAMES)}")
    diagnoses = [
        (diagnosis.findtext("desc", "").strip(), label, diagnosis.findtext("name", "")[:3])
        for label, chapter in enumerate(chapters)
        for diagnosis in chapter.iter("diag")
    ]
    firsts = first_of_each([text for text, _, _ in diagnoses])
    texts, labels, categories = zip(*(diagnoses[i] for i in firsts), strict=True)
    groups = np.unique(np.array(categories), return_inverse=True)[1]
    return split_whole_groups(text_array(texts), np.array(labels), groups)
