"""The roles of Shakespeare's plays: each speaks in a voice of its own, so a role is a natural client."""

import re
from collections.abc import Iterator, Mapping

import numpy as np
from jaxtyping import Int32, UInt8

from dpjax.datasets.entries import RawArrays
from dpjax.fetching.sources import DatasetError

CONTEXT = 80  # characters before the one to be predicted, as LEAF and TensorFlow Federated have it
STRIDE = 16  # characters from one row of a role to its next: a row for each of 4.2 million would take 340 MB
MIN_SPEECHES = 2  # a role with fewer cannot be split

# All that an ASCII typewriter prints, whether or not a play uses it: the symbols say nothing of who spoke.
PADDING, UNKNOWN = 0, 1
SYMBOLS = "\n" + "".join(map(chr, range(32, 127)))
CLASS_NAMES = ("padding", "unknown", "newline", "space", *SYMBOLS[2:])
_IDS = np.full(128, UNKNOWN, np.uint8)
_IDS[[ord(symbol) for symbol in SYMBOLS]] = np.arange(2, 2 + len(SYMBOLS))

_START = re.compile(r"^(act (i|1|first)|(the )?prologue|induction)\b", re.IGNORECASE | re.MULTILINE)
_DIVISION = re.compile(r"(act|scene)\b[ .]*([ivx]+|\d+|first|second|third|fourth|fifth)\b", re.IGNORECASE)
_ALONE = re.compile(r"(the )?(prologue|epilogue|induction)\.?", re.IGNORECASE)
# "[Exit.]", "{Aside.]"; where nobody closed it, what is left of its line.
_DIRECTION = re.compile(r"[\[{][^\[\]{}]*[\]}]|[\[{].*|\]")
_CAPITALS = re.compile(r"[A-Z0-9][A-Z0-9 ,.'&\-]*")  # "DROMIO OF EPHESUS.", "OBERON"
_TITLE = re.compile(r"(?=.*[a-z])[A-Z0-9][A-Za-z0-9 '&\-]*\.")  # "Ham.", "First Clown."


def speeches(text: str) -> Iterator[tuple[str, str]]:
    """Yields every speech of a play in order, as (role, words).

    A role is a line of its own at the head of a paragraph, all in capitals or, in the plays that print it so, in
    small letters up to a full stop. Stage directions, headings of acts and scenes, and the list of persons are left
    out, indentation too.

    Example:
      >>> list(speeches("ACT I.\\n\\n[Enter Lear.]\\n\\nLEAR.\\nNo, no, [Aside.] no!\\n\\nFOOL.\\nNuncle"))
      [('LEAR', 'No, no, no!'), ('FOOL', 'Nuncle')]
    """
    start = _START.search(text)
    blocks = []
    for paragraph in re.split(r"\n\s*\n", text[start.start() if start else 0 :]):
        lines = [" ".join(line.split()) for line in _DIRECTION.sub("", paragraph).splitlines()]
        if block := [line for line in lines if line]:
            blocks.append(block)
    heading = max((_CAPITALS, _TITLE), key=lambda style: sum(bool(style.fullmatch(block[0])) for block in blocks))
    role, words = "", list[str]()
    for block in blocks:
        ends = bool(_DIVISION.match(block[0])) or (len(block) == 1 and bool(_ALONE.fullmatch(block[0])))
        # A line alone in small letters is spoken; in capitals it names who speaks after the next stage direction.
        begins = not ends and bool(heading.fullmatch(block[0])) and (len(block) > 1 or heading is _CAPITALS)
        if (ends or begins) and role and words:
            yield role, "\n".join(words)
        if ends or begins:
            role, words = "" if ends else block[0].rstrip(".").upper(), []
        words += block[begins:]
    if role and words:
        yield role, "\n".join(words)


def windows(text: str) -> tuple[UInt8[np.ndarray, "rows context"], Int32[np.ndarray, "rows"]]:
    """Cuts a text into rows: every ``STRIDE``-th character, and the ``CONTEXT`` characters before it.

    A text shorter than that gives one row, for its last character.

    Returns:
      Ids of characters ``[rows, CONTEXT]``, filled up with ``PADDING`` from the left; ids of the next ones.

    Example:
      >>> before, after = windows("To be, or not to be")
      >>> "".join(SYMBOLS[i - 2] for i in before[0] if i), SYMBOLS[after[0] - 2]
      ('To be, or not t', 'o')
    """
    ids = encode_text(text)
    targets = np.arange(min(STRIDE, len(ids)) - 1, len(ids), STRIDE)
    padded = np.concatenate([np.full(CONTEXT, PADDING, np.uint8), ids])
    return padded[targets[:, None] + np.arange(CONTEXT)], ids[targets].astype(np.int32)


def encode_text(text: str) -> UInt8[np.ndarray, "characters"]:
    """Returns the id of each character: its place in ``SYMBOLS`` plus 2, or ``UNKNOWN``.

    Example:
      >>> encode_text("\\n A~é").tolist()
      [2, 3, 36, 97, 1]
    """
    codes = np.frombuffer(text.encode("utf-32-le"), "<u4")
    return _IDS[np.where(codes < 128, codes, 0)]  # character 0 is no symbol either


def decode_shakespeare(files: Mapping[str, bytes]) -> RawArrays:
    """Reads the speeches of every role; the first 80 % of a role's speeches train, the others test.

    Args:
      files: path → text of one play in Latin-1; the name of the file up to ``_gut`` names the play.

    Returns:
      Inputs ``[rows, 80]`` uint8 and labels: ids of characters. A part of a role is one text, its speeches one below
      the other, so that a row may begin in the speech before. Units are the roles with two speeches or more, in
      order of their names ``PLAY_ROLE``; each has rows in both parts.

    Raises:
      DatasetError: where no play has such a role.
    """
    spoken: dict[str, list[str]] = {}
    for path, content in files.items():
        play = path.rsplit("/", 1)[-1].split("_gut")[0].upper()
        for role, words in speeches(content.decode("latin1")):
            spoken.setdefault(f"{play}_{role.replace(' ', '_')}", []).append(words)
    names = sorted(name for name, all_words in spoken.items() if len(all_words) >= MIN_SPEECHES)
    if not names:
        raise DatasetError(f"data.name='shakespeare': no role speaks twice in {', '.join(files)}")
    parts: tuple[list, list] = ([], [])
    for unit, name in enumerate(names):
        cut = len(spoken[name]) * 4 // 5
        for part, words in zip(parts, (spoken[name][:cut], spoken[name][cut:]), strict=True):
            inputs, labels = windows("\n".join(words))
            part.append((inputs, labels, np.full(len(labels), unit, np.int32)))
    train, test = ([np.concatenate(arrays) for arrays in zip(*part, strict=True)] for part in parts)
    return RawArrays(train[0], train[1], test[0], test[1], train[2], test[2], np.array(names))


def encode_shakespeare(raw: UInt8[np.ndarray, "rows context"]) -> Int32[np.ndarray, "rows context"]:
    """Widens the stored ids to int32, which is what an embedding looks up.

    Example:
      >>> encode_shakespeare(np.zeros((1, 80), np.uint8)).dtype
      dtype('int32')
    """
    return raw.astype(np.int32)
