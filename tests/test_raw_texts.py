"""Raw texts: folders of documents, mailboxes and tables, with what is wrong with them said in one sentence."""

import csv
import mailbox
import warnings
import zipfile
from dataclasses import replace
from email.message import EmailMessage

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpjax.datasets.raw_texts.folders import read_folder
from dpjax.datasets.raw_texts.mailboxes import read_mailbox, without_quotes
from dpjax.datasets.raw_texts.pieces import pieces_of
from dpjax.datasets.raw_texts.preparing import Preparation, prepare
from dpjax.datasets.raw_texts.pseudonyms import PLAINLY, pseudonymise
from dpjax.fetching.sources import DatasetError
from experiments.admission import columns_of_data, fingerprint_of_data
from experiments.config import ConfigError, DataConf
from experiments.inputs import data_inputs
from experiments.own_data import load_own
from tests.raw_files import pdf_of, write_contracts, write_document, write_mailbox, write_notes, write_transactions

W = "data.path='texts':"


def refused(call, *words):
    with pytest.raises(DatasetError) as error:
        call()
    said = str(error.value)
    assert "\n" not in said
    assert all(word in said for word in words), said
    return said


def put(folder, **files):
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def load(**said):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        return load_own(DataConf(name="own", text=["text"], **said)), " ".join(str(each.message) for each in told)


def test_three_forms_say_the_same(tmp_path):
    lines = ["Agreement with Ada Brook.", "Payment is due in 30 days."]
    for ending in ("txt", "docx", "pdf"):
        (tmp_path / ending).mkdir()
        write_document(tmp_path / ending / f"a.{ending}", lines)
    read = read_folder(tmp_path, W)
    assert {" ".join(text.split()) for text in read.texts} == {" ".join(lines)}
    assert read.owners == ["docx", "pdf", "txt"]


def test_tables_of_a_docx_are_read_in_their_place_and_merged_cells_once(tmp_path):
    import docx

    document = docx.Document()
    document.add_paragraph("before")
    table = document.add_table(2, 2)
    table.cell(0, 0).merge(table.cell(0, 1)).text = "wide"
    table.cell(1, 0).text, table.cell(1, 1).text = "left", "right"
    document.add_paragraph("after")
    (tmp_path / "c").mkdir()
    document.save(str(tmp_path / "c" / "a.docx"))
    assert read_folder(tmp_path, W).texts == ["before\nwide\nleft | right\nafter"]


@pytest.mark.parametrize(
    ("owners", "files", "wanted", "labels"),
    [
        ("", ["p1/x/a.txt", "p2/a.txt"], ["p1", "p2"], None),
        ("{owner}_*.txt", ["p1_a_b.txt", "p2_b.txt"], ["p1", "p2"], None),
        ("*/{owner}-*", ["x/p1-a.txt", "x/y/p2-b.txt"], ["p1", "p2"], None),
        ("{label}/{owner}/*", ["ill/p1/a.txt", "well/p2/a.txt"], ["p1", "p2"], ["ill", "well"]),
    ],
)
def test_owners_by_folder_and_by_pattern(owners, files, wanted, labels, tmp_path):
    put(tmp_path, **{name: name for name in files})
    read = read_folder(tmp_path, W, owners)
    assert (read.owners, read.labels) == (wanted, labels)


def test_owners_by_a_list(tmp_path):
    put(tmp_path, **{"a.txt": "one", "b/c.txt": "two"})
    with (tmp_path / "who.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [["file", "owner", "label"], ["a.txt", "007", "x"], ["b/c.txt", "7", "y"], ["d", "8", "x"]]
        )
    read = read_folder(tmp_path, W, "who.csv")
    assert (read.owners, read.labels) == (["007", "7"], ["x", "y"])
    assert read.remarks == ["1 file of who.csv is not there"]
    put(tmp_path, **{"b/c2.txt": "three"})
    refused(lambda: read_folder(tmp_path, W, "who.csv"), "b/c2.txt", "did you mean its b/c.txt")
    refused(lambda: read_folder(tmp_path, W, "nobody.csv"), "nobody.csv", "is not there")
    put(tmp_path, **{"who.csv": "file,owner\na.txt,\n"})
    refused(lambda: read_folder(tmp_path, W, "who.csv"), "row 0 has no owner")
    put(tmp_path, **{"who.csv": "file,owner\na.txt,1\na.txt,2\n"})
    refused(lambda: read_folder(tmp_path, W, "who.csv"), "a.txt twice")
    put(tmp_path, **{"who.csv": "name,who\na.txt,1\n"})
    refused(lambda: read_folder(tmp_path, W, "who.csv"), "no column 'file'")


def test_what_is_not_read_is_counted(tmp_path):
    outside = put(tmp_path / "out", **{"secret.txt": "of another"})
    inside = put(
        tmp_path / "in", **{"p/a.txt": "mine", "p/.b.txt": "hidden", "p/c.odt": "x", "p/d.odt": "x", "p/e": "x"}
    )
    (inside / "p" / "link.txt").symlink_to(outside / "secret.txt")
    (inside / "q").symlink_to(outside)
    read = read_folder(inside, W)
    assert read.texts == ["mine"]
    assert read.remarks == [
        "3 files are no .txt, .docx or .pdf and were not read (2 .odt, 1 without an ending)",
        "1 file is hidden and was not read",
        "2 files are links out of the folder and were not read",
    ]


def bomb(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("word/document.xml", b"0" * 120_000_000)


def encrypted(path):
    import pypdf

    writer = pypdf.PdfWriter()
    writer.add_blank_page(100, 100)
    writer.encrypt("word", algorithm="RC4-128")
    writer.write(path)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.pdf", pdf_of([]), ("has no text", "OCR")),
        ("a.pdf", encrypted, ("is encrypted", "password")),
        ("a.pdf", b"%PDF-1.4 no more", ("is damaged",)),
        ("a.pdf", b"", ("is damaged",)),
        ("a.docx", b"no zip", ("is damaged",)),
        ("a.docx", pdf_of(["x"]), ("is damaged",)),
        ("a.docx", bomb, ("unpacks to 120,000,000 bytes",)),
        ("a.txt", b"", ("is an empty text",)),
        ("a.txt", b" \n\t", ("is an empty text",)),
        ("a.txt", "né".encode("latin1"), ("line 1 is not UTF-8", "data.encoding=cp1252")),
        ("a.pt", b"x", ("pickle", ".jsonl")),
        ("a.BIN", b"x", ("pickle", ".jsonl")),
    ],
)
def test_one_bad_file_is_named_and_nothing_is_read(name, content, words, tmp_path):
    put(tmp_path, **{"p/0.txt": "good", f"p/{name}": b"" if callable(content) else content})
    if callable(content):
        content(tmp_path / "p" / name)
    refused(lambda: read_folder(tmp_path, W), name, *words)


def test_whose_is_it_and_nothing_there(tmp_path):
    put(tmp_path, **{"a.txt": "nobody's"})
    refused(lambda: read_folder(tmp_path, W), "whose is a.txt?", "{owner}_*.txt")
    refused(lambda: read_folder(tmp_path, W, "{owner}-*"), "does not fit")
    refused(lambda: read_folder(tmp_path, W, "{person}/*"), "must hold {owner}")
    (tmp_path / "empty").mkdir()
    refused(lambda: read_folder(tmp_path / "empty", W), "no .txt, .docx or .pdf is there")
    for raw in ("documents", "mailbox", "table"):
        refused(
            lambda raw=raw: prepare(str(tmp_path / "gone"), Preparation(raw)),
            "is there" if raw == "table" else "is not there",
        )
        refused(lambda raw=raw: prepare("weights.bin", Preparation(raw)), "pickle")
    refused(lambda: prepare(str(tmp_path / "a.txt"), Preparation("documents")), "is no folder")


def mail(body="Words.", subtype="plain", charset="utf-8", **headers):
    made = EmailMessage()
    for name, value in ({"From": "Ann <ann@example.org>", "Subject": "tea"} | headers).items():
        if value:
            made[name.replace("_", "-")] = value
    made.set_content(body, subtype=subtype, charset=charset)
    return made


def box_of(path, mails):
    box = mailbox.mbox(path)
    for each in mails:
        box.add(each)
    box.close()
    return path


def test_a_mail_is_its_own_words_by_its_sender(tmp_path):
    attached = mail("See it.", Subject="file")
    attached.add_attachment(b"x,y\n1,2\n", maintype="text", subtype="csv", filename="a.csv")
    attached.add_attachment("other words", filename="b.txt")
    forwarded = mail("Look.", Subject="fyi")
    forwarded.add_attachment(mail("Bob's own words", From="bob@example.org"))
    mails = [
        mail("naïve café", charset="iso-8859-1", From='"Ä, B" <Ann+shop@EXAMPLE.org>'),
        mail("<p>Fish &amp; chips</p><blockquote>Bob said</blockquote>", "html"),
        attached,
        forwarded,
        mail("Mine.\n\nFrom now on it is mine.\n> Bob's\n", Subject="Re: Bob's own subject"),
        b"From: ann@example.org\nContent-Type: text/plain; charset=nonsense\nSubject: odd\n\nplain\n",
        b"From: ann@example.org\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\ncaf\xe9\n",
    ]
    read = read_mailbox(box_of(tmp_path / "in.mbox", mails), W)
    assert read.texts == [
        "tea\n\nnaïve café", "tea\n\nFish & chips", "file\n\nSee it.", "fyi\n\nLook.",
        "Mine.\n\nFrom now on it is mine.", "odd\n\nplain", "café",
    ]  # fmt: skip
    assert set(read.owners) == {"ann@example.org"}
    assert any("2 mails are not in the charset" in each for each in read.remarks)


def test_quotes_stay_when_asked_for_and_are_said(tmp_path):
    path = box_of(tmp_path / "in.mbox", [mail("Mine.\n\n> Bob's words\n", Subject="Re: Bob's")])
    assert "Bob" not in read_mailbox(path, W).texts[0]
    read = read_mailbox(path, W, quotes=True)
    assert "> Bob's words" in read.texts[0]
    assert "other persons' words" in read.remarks[-1]


@pytest.mark.parametrize(
    "tail",
    [
        "\n\nOn Mon, 3 May 2024 at 10:00, Bob <b@x.org>\nwrote:\n\n> BOB\n>> BOB\n",
        "\n\nAm 3.5.2024 schrieb Bob:\n> BOB",
        "\n\n-----Original Message-----\nFrom: Bob\nBOB",
        "\n\n________________________________\nFrom: Bob <b@x.org>\nSent: Monday\nTo: Ann\n\nBOB",
        "\n\nFrom: Bob [mailto:b@x.org]\nSent: Monday\nBOB",
        "\n\nBegin forwarded message:\nBOB",
    ],
)
def test_usual_quotes_are_cut(tail):
    assert without_quotes("Mine: so.\nAnd mine." + tail) == "Mine: so.\nAnd mine."


def test_what_is_left_out_of_a_mailbox_is_counted(tmp_path):
    mails = [
        mail(),
        mail(From=""),
        mail("> only Bob\n", Subject="Re: x"),
        mail(Message_ID="<1>"),
        mail(Message_ID="<1>"),
    ]
    read = read_mailbox(box_of(tmp_path / "in.mbox", mails), W)
    assert len(read.texts) == 2
    assert [each.split(" of ")[0] for each in read.remarks] == ["1"] * 3
    refused(lambda: read_mailbox(box_of(tmp_path / "b.mbox", mails[1:3]), W), "none of its 2 mails")
    refused(lambda: read_mailbox(put(tmp_path, **{"c.mbox": ""}) / "c.mbox", W), "holds no mails")
    refused(lambda: read_mailbox(put(tmp_path, **{"d.mbox": "Dear all"}) / "d.mbox", W), "is no mbox")
    (tmp_path / "e").mkdir()
    refused(lambda: read_mailbox(tmp_path / "e", W), "is no maildir")


def test_a_maildir_is_the_same_mails_and_is_left_as_it_was(tmp_path):
    mails = [mail(f"Word {i}.", From=f"p{i}@example.org") for i in range(3)]
    box = mailbox.Maildir(tmp_path / "dir")
    for each in mails:
        box.add(each)
    file = box_of(tmp_path / "in.mbox", mails)
    before = file.read_bytes()
    assert sorted(read_mailbox(tmp_path / "dir", W).texts) == sorted(read_mailbox(file, W).texts)
    assert file.read_bytes() == before


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="ab.!? \n", max_size=80), st.integers(1, 9))
def test_pieces_keep_all_words_in_order_and_their_length(text, most):
    pieces = pieces_of(text, most)
    assert " ".join(pieces).split() == text.split()
    assert all(1 <= len(piece.split()) <= most for piece in pieces)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("mail ann.b+c@mail.example.org.", "mail [EMAIL-1]."),
        ("see https://x.org/a?b=1, or www.y.de.", "see [URL-1], or [URL-2]."),
        ("IBAN DE89 3704 0044 0532 0130 00 now", "IBAN [IBAN-1] now"),
        ("card 4111 1111 1111 1111 and 4111-1111-1111-1111", "card [NUMBER-1] and [NUMBER-1]"),
        ("SSN 078-05-1120, MRN 00123456", "SSN [NUMBER-1], MRN [NUMBER-2]"),
        ("born 3 May 1980 or 03.05.1980 or 1980-05-03", "born [DATE-1] or [DATE-2] or [DATE-3]"),
        ("call +49 30 5551234 or (030) 555-1234", "call [PHONE-1] or [PHONE-2]"),
        ("take 400 mg for 7 days, 12 of 99, in 2024", "take 400 mg for 7 days, 12 of 99, in 2024"),
    ],
)
def test_identifiers_become_placeholders(text, wanted):
    assert pseudonymise([text])[0] == [wanted]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("xy"), st.sampled_from(["a@b.org", "c@d.org", "2024-01-02"])), max_size=8))
def test_a_placeholder_depends_on_its_owner_alone(rows):
    owners, texts = [who for who, _ in rows], [text for _, text in rows]
    together = pseudonymise(texts, owners)[0]
    for who in "xy":
        mine = [text for owner, text in rows if owner == who]
        assert [t for t, owner in zip(together, owners, strict=True) if owner == who] == pseudonymise(
            mine, [who] * len(mine)
        )[0]


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda folder: write_notes(folder / "n", people=12), {"raw": "documents", "unit": "owner"}),
        (lambda folder: write_mailbox(folder / "m.mbox", people=12), {"raw": "mailbox", "unit": "owner"}),
        (lambda folder: write_contracts(folder / "c", people=12), {"raw": "documents", "unit": "owner"}),
        (lambda folder: write_transactions(folder / "t.csv", people=12), {"text": ["description"], "unit": "customer"}),
    ],
    ids=["notes", "mailbox", "contracts", "transactions"],
)
def test_each_kind_loads_with_owners_apart_and_says_what_was_done(write, said, tmp_path):
    place = write(tmp_path)
    fields = {"text": ["text"]} | said
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        data = load_own(DataConf(name="own", path=str(place), piece_words=5, pseudonymise=True, **fields))
    shown = " ".join(str(each.message) for each in told)
    assert PLAINLY in shown
    assert "pieces" in shown
    assert data.own
    assert data.num_units == 12
    assert not set(data.train_units) & set(data.test_units)
    assert max(len(text.split()) for text in data.train_inputs.tolist()) <= 5
    assert "@example.org" not in " ".join(data.train_inputs.tolist())


def test_labels_of_documents_are_classes(tmp_path):
    put(tmp_path, **{f"{'ab'[i % 2]}/p{i}/n.txt": f"text {i}" for i in range(30)})
    said = {"raw": "documents", "owners": "{label}/{owner}/*", "unit": "owner", "label": "label", "classes": ["a", "b"]}
    data, _ = load(path=str(tmp_path), **said)
    assert data.class_names == ("a", "b")
    assert data.num_units == 30
    assert data.learnt == ""


def test_fields_that_do_not_go_together_are_refused(tmp_path):
    put(tmp_path, **{"p/a.txt": "x"})
    for said in ({"unit": None}, {"unit": "owner", "label": "kind"}):
        with pytest.raises(ConfigError, match="makes the columns text, owner and label"):
            load(path=str(tmp_path), raw="documents", **said)
    with pytest.raises(ConfigError, match="on_disk"):
        load(path=str(tmp_path), raw="documents", unit="owner", on_disk=True)


def test_a_pickle_is_refused_whatever_it_is_called_for():
    for name in ("texts.pt", "texts.BIN", "texts.pkl"):
        refused(lambda name=name: load_own(DataConf(name="own", path=name, label="x")), "pickle", ".jsonl")


def test_every_file_and_the_list_of_owners_is_part_of_the_identity(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    put(tmp_path, **{"n/a.docx": "x", "n/b.pdf": "y", "who.csv": "file,owner\n"})
    data = DataConf(name="own", path="n", raw="documents", owners="who.csv")
    seen = {str(data_inputs(data))}
    for name in ("n/a.docx", "n/b.pdf", "who.csv"):
        put(tmp_path, **{name: "changed"})
        seen.add(str(data_inputs(data)))
    assert len(seen) == 4
    assert np.all(["absent" not in each for each in seen])


def test_a_ledger_knows_the_files_whatever_becomes_of_their_texts(tmp_path):
    place = str(write_notes(tmp_path / "n", people=12))
    plain = DataConf(name="own", path=place, raw="documents", text=["text"], unit="owner")
    known = fingerprint_of_data(plain)
    changed = [{"pseudonymise": True}, {"piece_words": 3}, {"canaries": 2}]
    assert all(known.same(fingerprint_of_data(replace(plain, **fields))) for fields in changed)
    assert known.shares(fingerprint_of_data(replace(plain, path=str(write_notes(tmp_path / "m", 12, seed=1))))) < 0.5
    assert set(columns_of_data(plain)) == {"text", "owner"}
