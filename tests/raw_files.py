"""Raw files of invented people, as they lie about: notes of patients, a mailbox, descriptions of payments, contracts.

python tests/raw_files.py FOLDER
"""

import csv
import mailbox
import random
import sys
from email.message import EmailMessage
from pathlib import Path

NAMES = [
    "Ada Brook",
    "Ben Carver",
    "Cleo Dunn",
    "Dario Ells",
    "Edna Frost",
    "Felix Gould",
    "Greta Holm",
    "Hugo Ives",
    "Iris Jarvis",
    "Jonas Keel",
    "Kira Lund",
    "Leo Marsh",
    "Mina North",
    "Nils Orr",
    "Olga Pike",
    "Paul Quill",
    "Rosa Reed",
    "Sven Stone",
    "Tara Thorn",
    "Ugo Vale",
    "Vera Wells",
    "Wim York",
    "Xenia Zorn",
    "Yara Ames",
]
COMPLAINTS = [
    "chest pain",
    "a dry cough",
    "a sore throat",
    "back pain",
    "dizziness",
    "a swollen knee",
    "headache",
    "poor sleep",
]
PLANS = (
    "Rest and fluids.", "Follow up in two weeks.", "Blood test ordered.", "Started ibuprofen 400 mg.",
    "Referred to cardiology.", "Physiotherapy advised.", "X-ray was normal.", "Continue the present dose.",
)  # fmt: skip
GOODS = ["groceries", "coffee", "train ticket", "rent", "pharmacy", "fuel", "books", "concert", "gym", "insurance"]
SHOPS = [
    "Northgate Market",
    "Blue Door Cafe",
    "City Rail",
    "Elm Housing",
    "Green Cross",
    "Fleet Fuel",
    "Page One",
    "Old Hall",
]
CLAUSES = (
    "The supplier delivers the goods within {days} days of the order.",
    "Either party may end this agreement with {days} days of notice.",
    "Payment is due {days} days after receipt of the invoice.",
    "All information of the other party is kept confidential for {days} days after the end.",
    "This agreement is governed by the law of the place of delivery.",
    "Liability is limited to the value of the order, but for intent.",
)
TOPICS = ["budget", "meeting", "draft", "travel", "server", "invoice", "hiring", "workshop"]


def write_notes(folder: Path, people: int = 120, each: int = 4, seed: int = 0) -> Path:
    """``notes/P0001/visit-1.txt``: some visits of each patient."""
    source = random.Random(seed)
    for person in range(people):
        home = folder / f"P{person:04d}"
        home.mkdir(parents=True)
        name = source.choice(NAMES)
        for visit in range(source.randint(1, each)):
            day = f"{source.randint(1, 28):02d}.{source.randint(1, 12):02d}.2024"
            said = f"{name}, seen on {day}, reports {source.choice(COMPLAINTS)} for {source.randint(2, 9)} days."
            plan = " ".join(source.sample(PLANS, 2))
            reach = f" Phone 030 555{source.randint(1000, 9999)}." if source.random() < 0.3 else ""
            (home / f"visit-{visit}.txt").write_text(f"{said} {plan}{reach}\n", encoding="utf-8")
    return folder


def write_mailbox(path: Path, people: int = 120, each: int = 5, seed: int = 0) -> Path:
    """An mbox in which people answer each other and quote what they answer."""
    source = random.Random(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    box = mailbox.mbox(path)
    last = ("nobody@example.org", "Hello?")
    for person in range(people):
        name = f"{source.choice(NAMES)} {person}"
        address = f"{name.lower().replace(' ', '.')}@example.org"
        for number in range(source.randint(1, each)):
            topic = source.choice(TOPICS)
            words = f"The {topic} is ready for {source.choice(TOPICS)}. I will send it on day {source.randint(1, 28)}."
            mail = EmailMessage()
            mail["From"] = f"{name} <{address}>"
            mail["Message-ID"] = f"<{person}.{number}@example.org>"
            answers = source.random() < 0.5
            mail["Subject"] = f"{'Re: ' if answers else ''}{topic}"
            quoted = f"\n\nOn Monday {last[0]} wrote:\n> {last[1]}\n" if answers else "\n"
            if source.random() < 0.2:
                mail.set_content(f"<html><body><p>{words}</p></body></html>", subtype="html")
            else:
                mail.set_content(f"{words}{quoted}")
            box.add(mail)
            last = (address, words)
    box.close()
    return path


def write_transactions(path: Path, people: int = 120, each: int = 8, seed: int = 0) -> Path:
    """A CSV: customer, day, amount, description, category."""
    source = random.Random(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["customer", "day", "amount", "description"])
        for person in range(people):
            for _ in range(source.randint(2, each)):
                what, shop = source.choice(GOODS), source.choice(SHOPS)
                card = f"card {source.randint(1000, 9999)}"
                day = f"2024-{source.randint(1, 12):02d}-{source.randint(1, 28):02d}"
                out.writerow(
                    [f"C{person:04d}", day, f"{source.uniform(2, 300):.2f}", f"{what} at {shop}, {card}, {day}"]
                )
    return path


def write_contracts(folder: Path, people: int = 60, each: int = 2, seed: int = 0) -> Path:
    """``contracts/CLIENT/…`` as .txt, .docx and .pdf in turn."""
    source = random.Random(seed)
    for person in range(people):
        home = folder / f"client-{person:03d}"
        home.mkdir(parents=True)
        for number in range(source.randint(1, each)):
            clauses = [each.format(days=source.choice((7, 14, 30, 60))) for each in source.sample(CLAUSES, 3)]
            lines = [f"Agreement with {source.choice(NAMES)}.", *clauses]
            ending = ("txt", "docx", "pdf")[(person + number) % 3]
            write_document(home / f"agreement-{number}.{ending}", lines)
    return folder


def write_document(path: Path, lines: list[str]) -> Path:
    """A .txt, .docx or .pdf with so many lines."""
    if path.suffix == ".txt":
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    elif path.suffix == ".docx":
        import docx

        document = docx.Document()
        for line in lines:
            document.add_paragraph(line)
        document.save(str(path))
    else:
        path.write_bytes(pdf_of(lines))
    return path


def pdf_of(lines: list[str]) -> bytes:
    """A PDF of one page in Helvetica; without lines it has no text, as a scan."""
    shown = "".join(f"({line.translate({40: None, 41: None, 92: None})}) Tj 0 -14 Td\n" for line in lines)
    stream = f"BT /F1 11 Tf 40 780 Td\n{shown}ET".encode("latin1") if lines else b""
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    content, places = b"%PDF-1.4\n", []
    for number, each in enumerate(objects, start=1):
        places.append(len(content))
        content += b"%d 0 obj\n%s\nendobj\n" % (number, each)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    head = b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    end = b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, len(content))
    return content + head + table + end


def write_all(folder: Path) -> None:
    """All four."""
    write_notes(folder / "notes")
    write_mailbox(folder / "mails.mbox")
    write_transactions(folder / "transactions.csv")
    write_contracts(folder / "contracts")


if __name__ == "__main__":
    write_all(Path(sys.argv[1]))
