"""The pages on sensitive data do what they say."""

import csv
import random
from pathlib import Path

import jax
import pytest

from dpjax.governance.identity import user
from dpjax.governance.signing import signing_key
from tests.patients import write_patients
from tests.test_docs import ROOT
from tests.walks import walk

HERE = ROOT / "docs/how-to"


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DPJAX_LEDGER", str(tmp_path / "ledger.db"))
    for variable in ("DPJAX_KEYS", "DPJAX_TOKEN"):
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize("page", ["budgets.md", "access.md", "encryption.md", "release.md", "hospital.md"])
def test_the_walk_of_a_page_says_what_the_page_says(page, tmp_path, capsys, monkeypatch):
    write_patients(tmp_path / "patients.csv", rows=300)
    walk(HERE / page, capsys, monkeypatch, {"olga": user()})


def test_the_walk_of_the_bank_s_page(tmp_path, capsys, monkeypatch):
    """Its server is a file here; tests/test_ledger.py has a PostgreSQL."""
    import pandas as pd

    monkeypatch.setenv("DPJAX_SIGNING_KEY", "olga.pem")  # set back in the end
    source = random.Random(1)
    rows = [
        (f"C{i // 2:04d}", source.randint(18, 90), source.randint(0, 9000) * 10, source.randint(0, 12), region, ill)
        for i, (region, ill) in enumerate((source.choice(REGIONS), source.choice(["no", "yes"])) for _ in range(400))
    ]
    names = ["customer", "age", "income", "late", "region", "defaulted"]
    pd.DataFrame(rows, columns=names).to_parquet("customers.parquet")
    stands = {
        "olga": user(),
        "postgresql://privacy@db.bank.example/ledger": str(tmp_path / "ledger.db"),
        "d7109ac0993bac19166fda38e74162fe7e1ae0b618bfaa66390d04d18ae7d249": signing_key("issuer.pem").public,
        "09cbdb21aae8b803": signing_key("ana.pem").id,
    }
    walk(HERE / "bank.md", capsys, monkeypatch, stands)


def test_the_walk_of_the_law_firm_s_page(tmp_path, capsys, monkeypatch):
    from dpjax.models import pretrained
    from dpjax.models.transformers import tiny
    from dpjax.models.tuning import fresh_parameters

    arch = tiny("bert", num_layers=1, max_length=64)
    pretrained.save(
        tmp_path / "tiny", arch, fresh_parameters(arch, jax.random.key(0)), pretrained.word_tokenizer(WORDS)
    )
    _write_letters(Path("letters.csv"), 1)
    _write_letters(Path("north.csv"), 2)
    _write_letters(Path("south.csv"), 3)
    north, south = (Path(name).read_text().splitlines() for name in ("north.csv", "south.csv"))
    Path("north-and-south.csv").write_text("\n".join([*north, *south[1:40]]) + "\n")
    walk(HERE / "law-firm.md", capsys, monkeypatch, {"olga": user(), "minilm": str(tmp_path / "tiny")})


REGIONS = ("north", "south", "east", "west")
WORDS = [f"w{i}" for i in range(62)]


def _write_letters(path: Path, seed: int) -> None:
    source = random.Random(seed)
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["text", "kind", "client"])
        for _ in range(240):
            words = " ".join(source.choices(WORDS, k=source.randint(3, 9)))
            out.writerow([words, source.choice(["claim", "deed", "other"]), f"L{source.randrange(60):03d}"])
