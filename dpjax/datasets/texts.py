"""Arrays of whole texts: made, packed into plain bytes for the cache, and cleared of what would leak or be empty."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64, Shaped, UInt8

from dpjax.fetching.sources import DatasetError


def text_array(texts: Sequence[str] | Sequence[Sequence[str]], *, columns: int | None = None) -> np.ndarray:
    """Returns texts as one NumPy array of whole strings of any length.

    Args:
      texts: one text a row, or one sequence of ``columns`` texts a row.
      columns: number of texts in a row; None: one, without an axis of its own.

    Returns:
      ``[rows]`` or ``[rows, columns]``, dtype ``np.dtypes.StringDType()``.

    Example:
      >>> text_array(["short", "a longer one"]).shape, text_array([], columns=2).shape
      ((2,), (0, 2))
    """
    shape = (len(texts),) if columns is None else (len(texts), columns)
    return np.array(texts, np.dtypes.StringDType()).reshape(shape)


def is_text(array: np.ndarray) -> bool:
    """Returns whether an array holds whole strings.

    Example:
      >>> is_text(text_array(["a"])), is_text(np.zeros(1))
      (True, False)
    """
    return isinstance(array.dtype, np.dtypes.StringDType)


def pack(texts: Shaped[np.ndarray, "..."]) -> tuple[UInt8[np.ndarray, "bytes"], Int64[np.ndarray, "..."]]:
    """Turns texts into two plain arrays, which any file can hold without pickling.

    Returns:
      All texts in UTF-8 one after the other, and where each ends, of the shape of ``texts``.

    Example:
      >>> content, ends = pack(text_array(["né", "", "x"]))
      >>> bytes(content).decode(), ends.tolist()
      ('néx', [3, 3, 4])
    """
    encoded = [text.encode() for text in texts.ravel().tolist()]
    ends = np.cumsum([len(each) for each in encoded], dtype=np.int64).reshape(texts.shape)
    return np.frombuffer(b"".join(encoded), np.uint8), ends


def unpack(content: UInt8[np.ndarray, "bytes"], ends: Int64[np.ndarray, "..."]) -> np.ndarray:
    """Turns what ``pack`` made back into texts.

    Raises:
      ValueError: where the two arrays do not belong together.

    Example:
      >>> unpack(*pack(text_array([["a", "b"]], columns=2))).tolist()
      [['a', 'b']]
    """
    stops = ends.ravel().tolist()
    starts = [0, *stops][: len(stops)]
    if (stops[-1] if stops else 0) != content.size or any(a > b for a, b in zip(starts, stops, strict=True)):
        raise ValueError("the ends of the texts do not fit their bytes")
    buffer = content.tobytes()
    texts = [buffer[start:stop].decode() for start, stop in zip(starts, stops, strict=True)]
    return np.array(texts, np.dtypes.StringDType()).reshape(ends.shape)


def check_texts(texts: Shaped[np.ndarray, "rows ..."], where: str) -> None:
    """Checks that every text says something.

    Args:
      texts: ``[rows]`` or ``[rows, columns]``.
      where: names them in the message.

    Raises:
      DatasetError: where one is empty or white space only; it names the first such row and how many there are.

    Example:
      >>> check_texts(text_array(["a", " ", ""]), "data.name='mine': train")
      Traceback (most recent call last):
      dpjax.fetching.sources.DatasetError: data.name='mine': train row 1 is an empty text, and 1 more; leave those out
    """
    empty = np.strings.str_len(np.strings.strip(texts)) == 0
    rows = np.flatnonzero(empty.any(1) if empty.ndim > 1 else empty)
    if len(rows):
        more = f", and {len(rows) - 1:,} more" if len(rows) > 1 else ""
        raise DatasetError(f"{where} row {rows[0]} is an empty text{more}; leave those out")


def spaced(text: str) -> str:
    """Returns a text with every run of white space as one space: what two texts are compared by.

    Example:
      >>> spaced(" Not\\n worth  it. ")
      'Not worth it.'
    """
    return " ".join(text.split())


def first_of_each(texts: Sequence[str], *, seen: set[str] | None = None) -> list[int]:
    """Returns the numbers of the texts to keep: not empty, and the first of those that differ in white space only.

    A text that stands in both parts would be known by heart when it is tested, so this comes before the split.

    Args:
      texts: in their order.
      seen: texts to count as there already, as ``spaced`` gives them.

    Example:
      >>> first_of_each(["a b", "c", " ", "a  b", "d"], seen={"d"})
      [0, 1]
    """
    seen = {"", *(seen or ())}
    numbers = []
    for number, text in enumerate(texts):
        if (key := spaced(text)) not in seen:
            seen.add(key)
            numbers.append(number)
    return numbers


def keep_texts(raw: np.ndarray) -> np.ndarray:
    """Returns stored texts as they are: what reads them brings a tokenizer of its own.

    Example:
      >>> keep_texts(text_array(["as it is"])).tolist()
      ['as it is']
    """
    return raw
