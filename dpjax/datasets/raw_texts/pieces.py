"""Long texts as pieces that a model reads whole; all pieces stay their owner's."""

import re

_ENDS = re.compile(r"(?<=[.!?])\s+|\n+")


def pieces_of(text: str, most_words: int) -> list[str]:
    """Cuts a text into pieces of so many words at most, at ends of sentences and lines where it can.

    Formal guarantees: the words of all pieces are those of the text, in their order.

    Args:
      text: of any length.
      most_words: of a piece, at least 1.

    Example:
      >>> pieces_of("One two. Three four five. Six seven eight nine ten.", 4)
      ['One two.', 'Three four five.', 'Six seven eight nine', 'ten.']
    """
    pieces: list[list[str]] = []
    for sentence in _ENDS.split(text):
        words = sentence.split()
        if pieces and len(pieces[-1]) + len(words) <= most_words:
            pieces[-1] += words
        else:
            pieces += [words[start : start + most_words] for start in range(0, len(words), most_words)]
    return [" ".join(words) for words in pieces if words]
