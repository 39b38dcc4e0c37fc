"""A mailbox as texts by sender: what each wrote, without what they quote of others."""

import email
import email.errors
import email.header
import email.message
import email.policy
import mailbox
import re
from collections.abc import Iterator
from email.utils import getaddresses
from pathlib import Path

from dpjax.datasets.raw_texts.document_files import refuse_pickle
from dpjax.datasets.raw_texts.folders import Texts
from dpjax.datasets.readers.mails import strip_html
from dpjax.fetching.sources import DatasetError

_FOLLOWS = re.compile(
    r"^\s*(-{2,}\s*(original message|ursprüngliche nachricht|message d'origine|mensaje original|forwarded message"
    r"|weitergeleitete nachricht|begin forwarded message).*|begin forwarded message:|_{10,})\s*$",
    re.IGNORECASE,
)
"""Lines below which a mail repeats another one to its end."""
_HEAD = re.compile(r"^\s*\*?(from|von|de|da)\s*:\*?\s.*(@|\[mailto:|<)", re.IGNORECASE)
_HEAD_NEXT = re.compile(r"^\s*\*?(sent|date|gesendet|datum|to|an|envoyé|enviado|subject|betreff)\s*:", re.IGNORECASE)
_WROTE = re.compile(r"(wrote|writes|schrieb|a écrit|escribió|ha scritto|said)\b.*:\s*$", re.IGNORECASE)
_REPLY = re.compile(r"^\s*(re|aw|fw|fwd|wg|tr|rv|sv|antw)(\[\d+\])?\s*:", re.IGNORECASE)
_QUOTED_HTML = re.compile(
    r"<blockquote\b.*?</blockquote\s*>|<div[^>]*class=[\"']?gmail_quote.*", re.DOTALL | re.IGNORECASE
)


def read_mailbox(path: Path, where: str, *, quotes: bool = False) -> Texts:
    """Reads the mails of an mbox file, a folder of ``.mbox`` files, or a maildir: a text a mail, its owner who sent it.

    A text is the subject and the words; attachments, forwarded mails among them, are no part of it. Of a mail in HTML
    the tags are left out. The owner is the address in ``From``, in small letters and without what follows a plus sign.
    The subject of a reply or a forwarded mail is left out, as another person may have written it. Signatures stay.

    Formal guarantees: all or nothing. A text depends on its own mail alone, but for copies of one ``Message-ID``, of
    which the first of a sender stays. What has no sender or no words of its own is left out and counted in ``remarks``.

    Args:
      path: of the mailbox.
      where: names it in messages.
      quotes: whether what a mail quotes stays. It holds ANOTHER person's words, whom the sender's ε does not protect:
        taking that person's own mails away does not take those words away. What is cut are lines behind ``>``, and what
        stands below the usual lines of mail programs; a quote without such a mark is not seen.

    Raises:
      DatasetError: it holds no mails, or can't be read.

    Example:
      >>> import tempfile
      >>> mail = "From - Mon\\nFrom: Ann <Ann+x@Example.org>\\nSubject: Re: tea\\n\\nYes.\\n\\nBob wrote:\\n> Tea?\\n"
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     _ = Path(folder, "in.mbox").write_text(mail)
      ...     read_mailbox(Path(folder, "in.mbox"), "mails:")[:2]
      (['Yes.'], ['ann@example.org'])
    """
    refuse_pickle(path, where)
    texts: list[str] = []
    owners: list[str] = []
    seen: set[tuple[str, str]] = set()
    total = unsent = wordless = copies = guessed = 0
    try:
        for content in _mails(path, where):
            total += 1
            mail = email.message_from_bytes(content, policy=email.policy.compat32)
            sender = sender_of(mail)
            words, in_doubt = words_of(mail, quotes=quotes)
            number = sender, str(mail.get("Message-ID", "")).strip()
            if not sender:
                unsent += 1
            elif number[1] and number in seen:
                copies += 1
            elif not words:
                wordless += 1
            else:
                seen.add(number)
                guessed += in_doubt
                texts.append(words)
                owners.append(sender)
    except OSError as error:
        raise DatasetError(f"{where} it cannot be read ({error.strerror or error}); see who may read it") from error
    if not total:
        raise DatasetError(
            f"{where} it holds no mails; name an mbox file, whose first line begins with 'From ', or a maildir"
        )
    if not texts:
        raise DatasetError(f"{where} none of its {total:,} mails has a sender and words of its own; look at the file")
    said = ((unsent, "without a sender"), (wordless, "without words of its own"), (copies, "a copy by its Message-ID"))
    remarks = [f"{count:,} of {total:,} mails left out, each {why}" for count, why in said if count]
    if guessed:
        remarks.append(f"{guessed:,} mails are not in the charset that they name, and were read as UTF-8 or Latin-1")
    if quotes:
        remarks.append("quoted replies stay, which hold other persons' words: ε of the sender does not protect those")
    return Texts(texts, owners, None, remarks)


def _mails(path: Path, where: str) -> Iterator[bytes]:
    if path.is_dir() and (path / "cur").is_dir():
        box = mailbox.Maildir(path, factory=None, create=False)
        for key in sorted(box.keys()):
            yield box.get_bytes(key)
        return
    files = [path]
    if path.is_dir():
        files = sorted(each for each in path.rglob("*.mbox") if each.is_file() and not each.name.startswith("."))
        if not files:
            raise DatasetError(
                f"{where} the folder is no maildir (with cur, new and tmp) and holds no .mbox file; name one"
            )
    for file in files:
        with file.open("rb") as opened:
            first = opened.read(5)
        if first and first != b"From ":
            raise DatasetError(
                f"{where} {file.name} is no mbox, whose first line begins with 'From '; name an mbox file or a maildir"
            )
        box = mailbox.mbox(file, factory=None, create=False)
        try:
            for key in box.iterkeys():
                yield box.get_bytes(key)
        finally:
            box.close()


def sender_of(mail: email.message.Message) -> str:
    """The address of who sent a mail, one for all ways to write it; empty if it has none.

    Example:
      >>> sender_of(email.message_from_string("From: =?utf-8?q?Zo=C3=AB?= <Zoe+work@Example.ORG>\\n\\nHi"))
      'zoe@example.org'
    """
    for _, address in getaddresses([str(each) for each in mail.get_all("From", [])]):
        name, at, place = address.strip().lower().rpartition("@")
        if at and name and place:
            return f"{name.partition('+')[0] or name}@{place}"
    return ""


def words_of(mail: email.message.Message, *, quotes: bool) -> tuple[str, bool]:
    """What a mail says, and whether its charset was guessed.

    Args:
      mail: as Python's parser gives it.
      quotes: whether what it quotes stays.
    """
    plain, pages, in_doubt = [], [], False
    for part in _parts(mail):
        if part.get_content_type() in ("text/plain", "text/html"):
            words, guessed = _decoded(part)
            (plain if part.get_content_type() == "text/plain" else pages).append(words)
            in_doubt |= guessed
    body = "\n".join(plain)
    if not body.strip():
        page = "\n".join(pages)
        body = strip_html(page if quotes else _QUOTED_HTML.sub("\n", page))
    body = re.sub(r"^>(>*From )", r"\1", body.replace("\r\n", "\n"), flags=re.MULTILINE)  # as mbox writes such lines
    subject = _subject(mail)
    if not quotes:
        body = without_quotes(body)
        subject = "" if _REPLY.match(subject) else subject
    lines = (" ".join(line.split()) for line in f"{subject}\n\n{body}".splitlines())
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
    return (text if body.strip() else ""), in_doubt


def _parts(mail: email.message.Message) -> Iterator[email.message.Message]:
    """The parts that are the mail's own: attachments and mails inside of it are not."""
    if mail.get_content_disposition() == "attachment" or mail.get_content_maintype() == "message":
        return
    if mail.is_multipart():
        for part in mail.get_payload():
            if isinstance(part, email.message.Message):
                yield from _parts(part)
    else:
        yield mail


def _decoded(part: email.message.Message) -> tuple[str, bool]:
    content = part.get_payload(decode=True)
    if not isinstance(content, bytes):
        return "", False
    named = part.get_content_charset()
    for charset in (named or "utf-8", "utf-8"):
        try:
            words = content.decode(charset).replace("\0", "")
            words.encode()  # some charsets of Python's give halves of characters
            return words, named is not None and charset != named
        except (LookupError, ValueError):
            continue
    return content.decode("latin1").replace("\0", ""), True


def _subject(mail: email.message.Message) -> str:
    words = []
    try:
        parts = email.header.decode_header(str(mail.get("Subject", "")))
    except (email.errors.HeaderParseError, ValueError):
        return ""
    for content, charset in parts:
        if isinstance(content, str):
            words.append(content)
            continue
        try:
            words.append(content.decode(charset or "latin1"))
        except (LookupError, ValueError):
            words.append(content.decode("latin1"))
    return " ".join("".join(words).replace("\0", "").encode("utf-8", "replace").decode().split())


def without_quotes(body: str) -> str:
    """A mail's words without those that it repeats of another one.

    Args:
      body: in lines.

    Example:
      >>> without_quotes("Fine.\\n\\nOn Monday Bob wrote:\\n> Tea?\\n\\nAnd:\\n-----Original Message-----\\nTea?")
      'Fine.\\n\\nAnd:'
    """
    lines = body.splitlines()
    kept: list[str] = []
    for number, line in enumerate(lines):
        following = next((each for each in lines[number + 1 :] if each.strip()), "")
        if _FOLLOWS.match(line) and not (line.strip().startswith("_") and not _HEAD.match(following)):
            break
        if _HEAD.match(line) and _HEAD_NEXT.match(following):
            break
        if line.lstrip().startswith(">"):
            # The line above a quote says who is quoted, and may be two.
            while kept and not kept[-1].strip():
                kept.pop()
            if kept and _WROTE.search(kept[-1]):
                kept.pop()
                if kept and re.match(r"^\s*(on|am|le|el|il)\b", kept[-1], re.IGNORECASE):
                    kept.pop()
            kept.append("")
            continue
        kept.append(line)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip()
