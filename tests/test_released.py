"""What is released carries what may be claimed of it, and nothing that the data says without noise."""

import json
import math
import re
from pathlib import Path

import pytest

from dpjax.results import SCHEMA, ResultsError, claim, claim_document, write_claim
from dpjax.results.cards import model_card
from experiments.config import DataConf
from experiments.own_data import classes_are_learnt

ROW = {
    "epsilon": 3.0,
    "epsilon_pld": 2.9999,
    "epsilon_rdp": 3.2,
    "delta": 1e-3,
    "unit": "example",
    "adjacency": "zero_out",
    "sampling": "poisson",
    "sampling_rate": 0.25,
    "num_steps": 100,
    "noise_multiplier": 1.5,
    "clip_norm": 1.0,
    "max_length": 16,
    "seed": 1234567,
    "population": 402,
    "train_accuracy": 0.9371,
    "rejected_count": 31,
    "cut_share": 0.0906,
    "overflow_count": 57,
    "owners": 1078,
    "rows_per_owner": 77,
    "inputs": '{"letters.csv": "abad1dea"}',
}
CLAIM = claim(ROW | {"overflow_count": 0})


def test_the_document_has_the_claim_and_each_of_its_numbers(tmp_path):
    told = json.loads(write_claim(tmp_path, ROW, class_names=True).read_text(encoding="utf-8"))
    assert told["claim"] == CLAIM
    assert told["private"] is True
    assert (told["epsilon"], told["delta"], told["accountant"]) == (2.9999, 1e-3, "PLD")
    for name in ("unit", "adjacency", "sampling", "sampling_rate", "noise_multiplier", "num_steps", "max_length"):
        assert told[name] == ROW[name]
    page = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert CLAIM in page
    for words in (
        "do not know the seed",
        "of the last step",
        "labels; ε does not cover them",
        "cut at 16 tokens",
        "owns several",
    ):
        assert words in page


def test_neither_the_seed_nor_what_noise_does_not_hide_is_in_it(tmp_path):
    path = write_claim(tmp_path, ROW, class_names=True)
    written = path.read_text(encoding="utf-8") + (tmp_path / "README.md").read_text(encoding="utf-8")
    for told in ("1234567", "402", "9371", "31", "57 ", "0906", "1078", "77", "abad1dea"):
        assert told not in written
    # A column that is computed from the data without noise can't come in by its name either.
    unprotected = {name for name, column in SCHEMA.items() if "NOT private" in column.meaning}
    assert unprotected
    assert not (unprotected | {"seed", "population", "inputs", "cut_share", "config"}) & claim_document(ROW).keys()


def test_a_run_without_noise_says_so(tmp_path):
    told = json.loads(write_claim(tmp_path, ROW | dict.fromkeys(("epsilon", "epsilon_pld"), math.inf)).read_text())
    assert (told["private"], told["epsilon"], told["delta"]) == (False, None, None)
    page = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "not private (ε=∞)" in page
    assert "No ε is claimed" in page
    assert "do not know the seed" not in page


def test_an_epsilon_that_nobody_computed_is_not_claimed():
    told = claim_document({"epsilon": 3.0, "delta": 1e-3})
    assert (told["private"], told["epsilon"]) == (False, None)


def test_what_stood_in_the_readme_stays_and_the_claim_stands_once(tmp_path):
    page = tmp_path / "README.md"
    page.write_text("---\nlibrary_name: peft\n---\n\nAdapters.\n", encoding="utf-8")
    write_claim(tmp_path, ROW)
    page.write_text(page.read_text(encoding="utf-8") + "\nBy me.\n", encoding="utf-8")
    write_claim(tmp_path, ROW | {"epsilon_pld": 1.0}, weights="average")
    text = page.read_text(encoding="utf-8")
    assert text.startswith("---\nlibrary_name: peft\n---\n\nAdapters.\n")
    assert text.rstrip().endswith("By me.")
    assert text.count("## Privacy") == 1
    assert "ε=1 PLD" in text
    assert "ε=3" not in text
    assert "average of the weights" in text


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "privacy.json").mkdir()
    with pytest.raises(ResultsError, match=r"privacy\.json"):
        write_claim(tmp_path, ROW)


def test_the_columns_that_are_marked_are_those_that_the_page_lists():
    page = (Path(__file__).parents[1] / "docs/concepts/what-is-released.md").read_text(encoding="utf-8")
    listed = page.partition("**None of these is covered by ε**")[2].partition("The table of")[0]
    named = set(re.findall(r"`(\w+)`", listed)) & set(SCHEMA)
    assert named == {name for name, column in SCHEMA.items() if "NOT private" in column.meaning}


@pytest.mark.parametrize(
    ("data", "learnt", "said"),
    [
        ({"name": "own", "path": "a.csv", "classes": ["no", "yes"]}, "", False),
        ({"name": "own", "path": "a.csv"}, "range of age; classes of ill", True),
        ({"name": "own", "path": "scans"}, "classes of its folders", True),
        ({"name": "mails.csv?label=kind"}, "", True),
        ({"name": "rotten_tomatoes"}, "", False),
    ],
)
def test_names_of_classes_are_said_to_be_the_rows_only_where_they_are(data, learnt, said):
    named = classes_are_learnt(DataConf(**data), learnt)
    told = claim_document(ROW, class_names=named)
    assert any("those of the training data's labels" in note for note in told["notes"]) == said


@pytest.mark.parametrize(("clipping", "final"), [("flat", 1.0), ("adaptive(q=0.5) per_layer", 0.8513)])
def test_a_card_tells_where_adaptive_clipping_began_and_where_it_ended(clipping, final):
    row = ROW | {"clipping": clipping, "final_clip_norm": final, "ledger_run": "ab", "ledger": "cd"}
    budget = {"epsilon": 4.0, "delta": 1e-5, "composition": "planned"}
    release = {"data_set": "clinic", "budget": budget, "spent_epsilon": 1.5, "runs": 1, "composed_epsilon": 1.2}
    release |= {"ledger": "ab12", "ledger_sequence": 9, "ledger_hash": "cd34", "dpjax_version": "0.1.0"}
    page = model_card(claim_document(row) | {"release": release})
    if clipping == "flat":
        assert "| clip norm | 1 |" in page
        assert "final" not in page
    else:
        assert "| initial clip norm | 1 |\n| final clip norm | 0.8513 |" in page
        assert "| clip norm |" not in page
