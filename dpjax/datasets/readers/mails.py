"""Mails by sender: subject and words of each, without the headers that would give the answer away."""

import email
import email.header
import email.message
import html
import re
from collections.abc import Mapping

import numpy as np

from dpjax.datasets.entries import RawArrays
from dpjax.datasets.splits import split_large_units
from dpjax.datasets.texts import first_of_each, text_array

CLASS_NAMES = ("ham", "spam")
MAX_CHARACTERS = 8000  # of a text; the longest mails are lists and digests of 200,000
MIN_MAILS = 5  # of a sender whose mails are split

# Python's own HTML parser changes from version to version, and what is pinned must not.
_PAGE = re.compile(r"<(html|head|body|table|font|p|br|center|div|a|img)\b", re.IGNORECASE)
_UNSEEN = re.compile(r"<!--.*?-->|<(script|style|title)\b.*?</\1\s*>", re.DOTALL | re.IGNORECASE)
_BREAK = re.compile(r"</?(p|br|div|tr|li|table|h\d|ul|ol|hr)\b[^>]*>", re.IGNORECASE)
_TAG = re.compile(r"</?[a-z!?][^>]*>", re.IGNORECASE)
_ADDRESS = re.compile(r"[^\s<>\"'(),;:]+@[^\s<>\"'(),;:]+")


def strip_html(text: str) -> str:
    """Returns the words of a page: no tags, comments, scripts and styles; references resolved.

    Example:
      >>> strip_html("<style>p {}</style><p>Fish &amp; chips,<br>now <b>only</b> 3 < 4")
      '\\nFish & chips,\\nnow only 3 < 4'
    """
    return html.unescape(_TAG.sub("", _BREAK.sub("\n", _UNSEEN.sub("", text))))


def read_mail(content: bytes) -> tuple[str, str]:
    """Returns the text of a mail, and its sender's address in lower case.

    The text is the subject, an empty line and the parts in plain text or, where those are empty, in HTML. Of a page
    the tags are left out, whatever the mail calls it. Runs of spaces and of empty lines count as one, and what exceeds
    ``MAX_CHARACTERS`` is cut off.
    The sender is empty where the header ``From`` names none.

    Args:
      content: the whole mail, as it was sent.

    Example:
      >>> read_mail(b"From: Ann <Ann@Example.org>\\nSubject: =?utf-8?q?H=C3=A9?=\\nX-Spam: no\\n\\nWell   met.\\n")
      ('Hé\\n\\nWell met.', 'ann@example.org')
    """
    mail = email.message_from_bytes(content)
    parts: dict[str, list[str]] = {"text/plain": [], "text/html": []}
    for part in mail.walk():
        if part.get_content_type() in parts:
            parts[part.get_content_type()].append(_words(part))
    body = "\n".join(parts["text/plain"])
    if not body.strip():
        body = "\n".join(parts["text/html"])
    if _PAGE.search(body):  # some call a page plain text, spam above all
        body = strip_html(body)
    lines = (" ".join(line.split()) for line in f"{_header(mail, 'Subject')}\n\n{body}".splitlines())
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()[:MAX_CHARACTERS].strip()
    address = _ADDRESS.search(_header(mail, "From").lower())
    return text, address.group() if address else ""


def _words(part: email.message.Message) -> str:
    content = part.get_payload(decode=True)
    if not isinstance(content, bytes):
        return ""
    for charset in (part.get_content_charset() or "ascii", "utf-8"):
        try:
            return content.decode(charset).replace("\0", "")
        except (LookupError, ValueError):  # a charset that nobody knows, or another one than the mail says
            continue
    return content.decode("latin1").replace("\0", "")


def _header(mail: email.message.Message, name: str) -> str:
    words = []
    for content, charset in email.header.decode_header(str(mail.get(name, ""))):
        if isinstance(content, str):
            words.append(content)
            continue
        try:
            words.append(content.decode(charset or "latin1"))
        except (LookupError, ValueError):
            words.append(content.decode("latin1"))
    return " ".join("".join(words).split())


def decode_spam_assassin(files: Mapping[str, bytes]) -> RawArrays:
    """Reads one mail a file; a sender of five and more has mails in both parts, the others are split whole.

    Args:
      files: ``…/<folder>/<number>.txt`` → a mail; the folder's name tells ham from spam.

    Returns:
      Texts ``[rows]``, each once; labels 0 ham, 1 spam; units are the senders, those that train first, without their
      addresses. A mail without a sender is a unit of its own.
    """
    texts, labels, senders = [], [], []
    for path in sorted(files):
        text, sender = read_mail(files[path])
        texts.append(text)
        labels.append(int("spam" in path.split("/")[-2]))
        senders.append(sender or path)
    first = first_of_each(texts)
    owners = np.unique(np.array(senders)[first], return_inverse=True)[1]
    return split_large_units(text_array([texts[i] for i in first]), np.array(labels)[first], owners, min_rows=MIN_MAILS)
