"""Which entry of ``references.bib`` a source named in a table stands for."""

import re
from pathlib import Path

BIBLIOGRAPHY = Path(__file__).parent / "references.bib"

# Words that name a source in a table, and its key.
SOURCES = {
    "Abadi et al., 2016": "abadi2016",
    "Agarwal et al., 2021": "agarwal2021",
    "Andrew et al., 2021": "andrew2021",
    "Balle and Wang, 2018": "balle2018",
    "Bu et al., 2023": "bu2023",
    "Choquette-Choo et al., 2023": "choquette2023",
    "Chua et al., 2024": "chua2024",
    "Clopper and Pearson": "clopper1934",
    "DP-FTRL on the production keyboard": "keyboard",
    "Fichtenberger et al., 2023": "fichtenberger2023",
    "Kairouz et al., 2021": "kairouz2021",
    "Karimireddy et al., 2020": "karimireddy2020",
    "Kasiviswanathan et al., 2011": "kasiviswanathan2011",
    "Kingma and Ba, 2015": "kingma2015",
    "Li et al., 2021": "li2021",
    "Li et al., 2022": "li2022",
    "McMahan et al., 2018": "mcmahan2018",
    "Opacus": "opacus",
    "PRV accountant": "prv2021",
    "Papernot et al., 2021": "papernot2021",
    "Reddi et al., 2021": "reddi2021",
    "Steinke et al., 2023": "steinke2023",
    "Tang et al., 2024": "tang2024",
    "TensorFlow Federated": "tff",
    "TensorFlow Privacy": "tfprivacy",
    "Tramèr and Boneh, 2021": "tramer2021",
    "Yu et al., 2021": "yu2021",
    "book-keeping authors, 2023": "bookkeeping2023",
    "dp-accounting": "dpaccounting",
}


def cite(text: str) -> str:
    """LaTeX that cites every source a text names; empty if it names none.

    >>> cite("Kairouz et al., 2021; Choquette-Choo et al., 2023 (banded)")
    '~\\\\cite{kairouz2021,choquette2023}'
    >>> cite("nobody")
    ''
    """
    places = sorted((text.index(name), key) for name, key in SOURCES.items() if name in text)
    return f"~\\cite{{{','.join(key for _, key in places)}}}" if places else ""


def known() -> frozenset[str]:
    """Keys of the entries in ``references.bib``.

    >>> set(SOURCES.values()) <= known()
    True
    """
    return frozenset(re.findall(r"^@\w+\{(\w+),", BIBLIOGRAPHY.read_text("utf-8"), re.MULTILINE))
