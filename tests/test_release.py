"""A model leaves only if ledger, statement and files agree: each thing is edited, and refused in a sentence."""

import json
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import sqlalchemy as sa
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from dpjax.accounting import (
    DistributedNoise,
    LocalReports,
    Mechanism,
    Participation,
    Release,
    tree_aggregation,
)
from dpjax.cli.app import run as dpjax
from dpjax.datasets.raw_columns import columns_of
from dpjax.encryption.keys import add_key
from dpjax.fingerprints import fingerprint_of
from dpjax.governance import trail
from dpjax.governance.database import writing
from dpjax.governance.errors import Denied, LedgerError
from dpjax.governance.files import digest_of, hashes_of, not_finite
from dpjax.governance.gate import Refused, checked
from dpjax.governance.ledger import Ledger, create_ledger
from dpjax.governance.release import CARD, check_release, release
from dpjax.governance.signing import new_signing_key
from dpjax.governance.spends import spend_of
from dpjax.results import COLUMNS, claim, write_claim, write_job_result
from dpjax.results.cards import model_card
from dpjax.results.mechanisms import columns_of as mechanism_columns
from tests.ledgers import DELTA, mechanism, request, set_budget
from tests.policies import grant


def trained(
    ledger: Ledger,
    folder: Path,
    ran: Mechanism,
    *,
    steps: int | None = None,
    close: bool = True,
    values=(0.5, 1.5),
    weights="trained.safetensors",
    model_hash="",
    **row,
) -> Path:
    """What a run on a budget leaves, without training."""
    [id] = ledger.reserve(
        "clinic", [request(folder.name)._replace(spend=spend_of(ran, DELTA), adjacency=ran.adjacency)]
    )
    ledger.commit({id: ran.num_steps if steps is None else steps})
    folder.mkdir()
    save_file({"w": np.asarray(values, np.float32)}, folder / weights)
    (folder / "labels").mkdir()
    (folder / "labels/names.json").write_text("[]")
    spent = spend_of(ran, DELTA).claim
    columns = mechanism_columns(ran) | {"epsilon": 2.0, "epsilon_pld": spent and spent[0], "delta": DELTA}
    columns |= {"ledger": ledger.name, "ledger_run": id, "capacity": 100, "overflow_count": 0, "train_accuracy": 0.8712}
    write_claim(folder, columns | row, model_hash=model_hash or digest_of(hashes_of(folder)))
    ledger.record_model(id, hashes_of(folder))
    if close:
        ledger.close({id: None})
    return folder


@pytest.fixture
def ledger(tmp_path):
    made = create_ledger(str(tmp_path / "ledger.db"), who="ana")
    set_budget(made, epsilon=4.0)
    return made


@pytest.fixture
def model(ledger, tmp_path):
    return trained(ledger, tmp_path / "model", mechanism(noise_multiplier=4.0, steps=5))


def told(folder: Path) -> dict:
    return json.loads((folder / "privacy.json").read_text())


def edit(folder: Path, **fields) -> None:
    (folder / "privacy.json").write_text(json.dumps(told(folder) | fields))


def actions(ledger: Ledger) -> list[str]:
    return [record["action"] for record in ledger.records()]


def test_what_is_released_states_what_the_ledger_knows(ledger, model, tmp_path):
    before = ledger.verify()
    statement = release(ledger, model, tmp_path / "out", model_card)
    out = tmp_path / "out"
    assert sorted(hashes_of(out)) == [CARD, "labels/names.json", "privacy.json", "trained.safetensors"]
    assert (out / "trained.safetensors").read_bytes() == (model / "trained.safetensors").read_bytes()
    assert told(out) == statement
    account, added = ledger.account("clinic"), statement["release"]
    assert added["spent_epsilon"] == account.spent <= statement["epsilon"] * 1.001
    assert (added["ledger"], added["ledger_sequence"], added["ledger_hash"]) == (ledger.name, *before)
    assert added["budget"]["epsilon"] == 4.0
    record = ledger.records()[-1]
    assert (record["action"], record["who"], record["subject"]) == ("release", "ana", "clinic")
    assert record["detail"] == {"run": statement["ledger_run"], "files": hashes_of(out), "folder": "out"}
    ledger.verify()
    assert check_release(ledger, out) == record


def test_the_card_is_one_of_the_hub_and_rounds_up_and_has_no_metric(ledger, model, tmp_path):
    statement = release(ledger, model, tmp_path / "out", model_card)
    page = (tmp_path / "out" / CARD).read_text(encoding="utf-8")
    _, front, body = page.split("---\n", 2)
    stated = yaml.safe_load(front)
    assert stated["privacy"]["epsilon"] == pytest.approx(statement["epsilon"])
    assert stated["privacy"]["delta"] == DELTA
    assert "differential-privacy" in stated["tags"]
    epsilon = float(body.partition("| ε | ")[2].partition(" |")[0])
    assert statement["epsilon"] <= epsilon <= statement["epsilon"] * 1.01
    for words in ("not audited", "not paid for", "noise multiplier | 4 ", "| steps | 5 |", "clinic", ledger.name):
        assert words in body
    assert statement["claim"] in body
    written = page + (tmp_path / "out/privacy.json").read_text()
    unprotected = {column.name for column in COLUMNS if "NOT private" in column.meaning} - {"overflow_count"}
    assert not [name for name in unprotected if name in written]
    assert "8712" not in written


@pytest.mark.parametrize(("file", "library"), [("adapter_config.json", "peft"), ("config.json", "transformers")])
def test_the_card_names_what_opens_the_model(ledger, tmp_path, file, library):
    folder = tmp_path / "model"
    release(ledger, trained(ledger, folder, mechanism(noise_multiplier=4.0, steps=5)), tmp_path / "plain", model_card)
    assert "library_name: dpjax" in (tmp_path / "plain" / CARD).read_text()
    statement = json.loads((tmp_path / "plain/privacy.json").read_text())
    assert f"library_name: {library}" in model_card(statement | {"release": statement["release"] | {"files": [file]}})


def test_no_name_of_data_breaks_the_card():
    release = {"data_set": 'a|b`\n---\n"<x>', "budget": {"epsilon": 1.0, "delta": 1e-5, "composition": "planned"}}
    release |= {"spent_epsilon": 1.0, "runs": 1, "composed_epsilon": 1.0, "ledger": "l", "ledger_sequence": 1}
    release |= {"ledger_hash": "h", "dpjax_version": "0"}
    page = model_card({"claim": "c", "unit": 'x"\n- y', "delta": 1e-5, "notes": [], "release": release})
    assert yaml.safe_load(page.split("---\n")[1])["privacy"]["unit"] == 'x"\n- y'
    assert '`a b  --- " x `' in page


EDITS = {
    "epsilon=1 at": lambda folder: edit(folder, epsilon=1.0),
    "epsilon=None is no claim": lambda folder: edit(folder, epsilon=None),
    "epsilon=nan is no claim": lambda folder: edit(folder, epsilon=float("nan")),
    "delta=2 is": lambda folder: edit(folder, delta=2),
    "delta=1e-06 is|δ=1e-06 is": lambda folder: edit(folder, delta=1e-6),
    "5 of 5 steps in the ledger, and privacy.json states 4": lambda folder: edit(folder, num_steps=4),
    "unit=user is what": lambda folder: edit(folder, unit="user"),
    "adjacency=replace_one is what": lambda folder: edit(folder, adjacency="replace_one"),
    "has no reservation in a ledger": lambda folder: edit(folder, ledger_run=None),
    "paid for by the ledger 00": lambda folder: edit(folder, ledger="00"),
    "run 5e1f is not in this ledger": lambda folder: edit(folder, ledger_run="5e1f"),
    "privacy.json was changed": lambda folder: edit(folder, noise_multiplier=9.0),
    "its privacy.json can't be read": lambda folder: (folder / "privacy.json").write_text("{"),
    "its privacy.json is no statement": lambda folder: (folder / "privacy.json").write_text("[]"),
    "trained.safetensors was changed": lambda folder: save_file(
        {"w": np.ones(2, "f4")}, folder / "trained.safetensors"
    ),
    "trained.safetensors is missing": lambda folder: (folder / "trained.safetensors").unlink(),
    "more.bin was added": lambda folder: (folder / "more.bin").write_bytes(b""),
    "labels/names.json was changed": lambda folder: (folder / "labels/names.json").write_text("[1]"),
    "is a link": lambda folder: (folder / "more.bin").symlink_to(folder / "privacy.json"),
}


@pytest.mark.parametrize("sentence", EDITS)
def test_each_edit_of_a_model_is_refused_and_leaves_no_more_than_a_record(ledger, model, tmp_path, sentence):
    before = actions(ledger)
    EDITS[sentence](model)
    with pytest.raises(Refused, match="|".join(sentence.split("|"))) as refused:
        release(ledger, model, tmp_path / "out", model_card)
    assert "\n" not in str(refused.value)
    assert str(refused.value).count("; ") >= 1  # and a fix
    assert sorted(os.listdir(tmp_path)) == ["ledger.db", "model"]
    assert actions(ledger) == [*before, "refuse"]
    assert ledger.records()[-1]["detail"]["why"] == f"release: {refused.value}"
    ledger.verify()


def test_readme_is_for_people_to_write_into(ledger, model, tmp_path):
    (model / "README.md").write_text("Mine, of 1234 rows.")
    release(ledger, model, tmp_path / "out", model_card)
    assert not (tmp_path / "out/README.md").exists()
    (tmp_path / "out/README.md").write_text("theirs, which a hub shows as the card")
    with pytest.raises(Refused, match=r"README\.md was added after the release; MODEL_CARD\.md is the card"):
        check_release(ledger, tmp_path / "out")


def refusal(ledger: Ledger, model: Path) -> str:
    with pytest.raises(Refused) as refused:
        checked(ledger, model)
    assert refused.value.data_set == "clinic"
    return str(refused.value)


@pytest.mark.parametrize("place", ["model", "model/sub", "model/sub/deep", ".", "model/../model/sub", "link/sub"])
def test_nothing_is_released_into_the_model_or_around_it(ledger, model, tmp_path, place):
    (tmp_path / "link").symlink_to(model)
    with pytest.raises(LedgerError, match=r"is in the model .*, or holds it; name one beside it"):
        release(ledger, model, tmp_path / place, model_card)
    release(ledger, model, tmp_path / "models", model_card)


def test_a_run_that_did_not_end_or_not_with_its_last_step_is_refused(ledger, tmp_path):
    ran = mechanism(noise_multiplier=8.0, steps=5)
    folder = trained(ledger, tmp_path / "open", ran, close=False)
    assert "has not ended in the ledger" in refusal(ledger, folder)
    assert "took 3 of 5 steps" in refusal(ledger, trained(ledger, tmp_path / "some", ran, steps=3))


def test_a_statement_that_was_written_wrong_is_refused_too(ledger, tmp_path):
    ran = mechanism(noise_multiplier=8.0, steps=5)
    assert "come to" in refusal(ledger, trained(ledger, tmp_path / "low", ran, epsilon_pld=0.5))
    why = refusal(ledger, trained(ledger, tmp_path / "learnt", ran, learnt="range of age"))
    assert "no ε covers: range of age" in why
    folder = trained(ledger, tmp_path / "other", ran, values=(np.nan, 1.0))
    assert "w is not finite" in refusal(ledger, folder)
    assert "w is not finite" in refusal(ledger, trained(ledger, tmp_path / "inf", ran, values=(np.inf, 1.0)))


def test_a_model_that_was_written_wrong_is_refused_too(ledger, tmp_path):
    ran = mechanism(noise_multiplier=8.0, steps=5)
    assert "names other files" in refusal(ledger, trained(ledger, tmp_path / "other", ran, model_hash="00"))
    assert "has no parameters" in refusal(ledger, trained(ledger, tmp_path / "none", ran, weights="trained.bin"))


def test_any_edit_of_a_statement_is_refused(tmp_path):
    ledger = create_ledger(str(tmp_path / "ledger.db"), who="ana")
    set_budget(ledger, epsilon=4.0)
    folder = trained(ledger, tmp_path / "model", mechanism(noise_multiplier=4.0, steps=5))
    path, as_written = folder / "privacy.json", (folder / "privacy.json").read_bytes()
    whole = json.loads(as_written)
    values = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just([]) | st.just({})

    @given(st.sampled_from(sorted(whole)), values)
    @settings(max_examples=60)
    def refused(field, value):
        path.write_text(json.dumps(whole | {field: value}))
        with pytest.raises(Refused):
            checked(ledger, folder)

    refused()
    path.write_bytes(as_written)
    checked(ledger, folder)


def test_an_epsilon_a_percent_below_what_the_steps_come_to_is_refused_and_the_own_one_is_not(ledger, tmp_path):
    ran = mechanism(noise_multiplier=1.5, steps=10, rate=0.05)
    own = (spend_of(ran, DELTA).claim or (0.0, 0.0))[0]
    passed = checked(ledger, trained(ledger, tmp_path / "own", ran))
    assert passed.epsilon == pytest.approx(own, rel=1e-3)
    assert "come to" in refusal(ledger, trained(ledger, tmp_path / "less", ran, epsilon_pld=own * 0.99))


def of_kind(name: str) -> Mechanism:
    ran = {"unit": "example", "adjacency": "replace_one", "sampling": "full", "sampling_rate": 1.0, "num_steps": 6}
    if name == "correlated":
        return Mechanism(**ran, noise_multiplier=20.0, factorization=tree_aggregation(Participation(6, 6, 1)))
    if name == "reports":
        return Mechanism(**ran, noise_multiplier=0.0, noise=LocalReports("laplace", 0.3))
    if name == "shares":
        return Mechanism(**ran, noise_multiplier=20.0, noise=DistributedNoise("skellam", 10, 2**16, 8))
    return Mechanism(**ran, noise_multiplier=9.0, released=Release(20.0, 1e-9))


@pytest.mark.parametrize("name", ["correlated", "reports", "shares", "released"])
def test_runs_of_every_kind_of_noise_are_composed_to_what_they_claim(tmp_path, name):
    ledger = create_ledger(str(tmp_path / "ledger.db"), who="ana")
    set_budget(ledger, epsilon=12.0, adjacency="replace_one", delta=10 * DELTA)
    ran = of_kind(name)
    own = (spend_of(ran, DELTA).claim or (0.0, 0.0))[0]
    passed = checked(ledger, trained(ledger, tmp_path / "own", ran, sampling="full"))
    assert 0 < passed.epsilon <= own * 1.001
    assert "come to" in refusal(ledger, trained(ledger, tmp_path / "less", ran, epsilon_pld=own * 0.9))


def test_data_that_are_overspent_release_nothing_until_their_budget_is_larger(ledger, model):
    checked(ledger, model)
    ledger.enter("clinic", spend_of(mechanism(noise_multiplier=1.0, steps=5), DELTA), tool="other", label="")
    assert "more than its budget" in refusal(ledger, model)
    set_budget(ledger, epsilon=40.0)
    checked(ledger, model)


def in_between(monkeypatch, happens) -> None:
    """Somebody else does something once all was checked, and before anything is recorded."""

    def copy(source, to, real=shutil.copyfile):
        if (todo := waiting.pop() if waiting else None) is not None:
            todo()
        return real(source, to)

    waiting = [happens]
    monkeypatch.setattr("dpjax.governance.release.shutil.copyfile", copy)


def test_what_is_spent_while_a_model_is_copied_counts(ledger, model, tmp_path, monkeypatch):
    other = Ledger(str(ledger.url.database), who="bob")
    in_between(monkeypatch, lambda: other.enter("clinic", request("b", steps=3).spend, tool="other", label=""))
    before = ledger.account("clinic").spent
    statement = release(ledger, model, tmp_path / "out", model_card)
    assert statement["release"]["spent_epsilon"] == ledger.account("clinic").spent > before
    assert statement["release"]["ledger_sequence"] == ledger.records()[-1]["sequence"] - 1
    assert check_release(ledger, tmp_path / "out")["detail"]["folder"] == "out"
    in_between(monkeypatch, lambda: set_budget(other, epsilon=other.account("clinic").spent * 0.9))
    with pytest.raises(Refused, match="which is more than its budget"):
        release(ledger, model, tmp_path / "late", model_card)
    assert not (tmp_path / "late").exists()
    assert actions(ledger)[-2:] == ["budget", "refuse"]
    ledger.verify()


def test_who_loses_the_right_while_a_model_is_copied_releases_nothing(ledger, model, tmp_path, monkeypatch):
    owner = grant(["ana"], "owner", ["*"])
    ledger.set_policy(owner + grant(["bob"], "owner"))
    set_budget(ledger, epsilon=4.0, sensitive=True)
    bob, key = Ledger(str(ledger.url.database), who="bob", key=new_signing_key()), new_signing_key()

    def taken_away():
        proposal = ledger.set_policy(owner)
        Ledger(str(ledger.url.database), who="bob", key=key).approve(proposal)

    in_between(monkeypatch, taken_away)
    with pytest.raises(Denied, match="bob"):
        release(bob, model, tmp_path / "out", model_card)
    assert not (tmp_path / "out").exists()
    assert "release" not in actions(ledger)
    ledger.verify()  # a release by somebody without a role is what it would find


def test_a_model_can_t_be_passed_off_as_the_one_of_another_run(ledger, model, tmp_path):
    other = trained(ledger, tmp_path / "other", mechanism(noise_multiplier=8.0, steps=5), values=(3.0, 4.0))
    id = told(model)["ledger_run"]
    shutil.copyfile(other / "trained.safetensors", model / "trained.safetensors")
    edit(model, model_sha256=digest_of(hashes_of(model)))  # with its hash
    assert "privacy.json was changed" in refusal(ledger, model)
    with pytest.raises(LedgerError, match="has ended, or is not in this ledger"):
        ledger.record_model(id, hashes_of(model))  # nor is it written down afterwards
    with pytest.raises(LedgerError, match="has ended, or is not in this ledger"):
        ledger.record_model("5e1f", {})


def test_a_run_without_a_model_in_the_ledger_is_refused(ledger, model, tmp_path):
    [id] = ledger.reserve("clinic", [request("none", noise_multiplier=8.0, steps=5)])
    ledger.close({id: 5})
    edit(model, ledger_run=id)
    assert "has no model in the ledger" in refusal(ledger, model)


@pytest.mark.parametrize("table", ["trail", "spend"])
def test_a_ledger_that_was_edited_releases_nothing_and_is_not_written_to(ledger, model, tmp_path, table):
    with writing(ledger._engine) as connection:
        connection.exec_driver_sql(
            "UPDATE spend SET steps = 1" if table == "spend" else "UPDATE trail SET who = 'bob' WHERE action = 'model'"
        )
        count = connection.execute(sa.select(sa.func.count()).select_from(trail.trail)).scalar_one()
    with pytest.raises(LedgerError, match="restore the ledger from a copy"):
        release(ledger, model, tmp_path / "out", model_card)
    assert not (tmp_path / "out").exists()
    assert len(ledger.records()) == count


def test_a_folder_that_has_something_is_left_as_it_is(ledger, model, tmp_path):
    before = actions(ledger)
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    for to in (out, out / "mine.txt"):
        with pytest.raises(LedgerError, match="is there and not empty"):
            release(ledger, model, to, model_card)
    assert os.listdir(out) == ["mine.txt"]
    assert actions(ledger) == before
    (tmp_path / "empty").mkdir()
    release(ledger, model, tmp_path / "empty", model_card)
    assert (tmp_path / "empty" / CARD).is_file()


def test_what_fails_on_the_way_leaves_no_part_of_a_release(ledger, model, tmp_path, monkeypatch):
    before = actions(ledger)

    def broken(statement):
        raise OSError(28, "No space left on device")

    with pytest.raises(LedgerError, match=r"can't be written \(No space left on device\)"):
        release(ledger, model, tmp_path / "out", broken)
    assert sorted(os.listdir(tmp_path)) == ["ledger.db", "model"]
    assert actions(ledger) == before

    in_between(monkeypatch, lambda: (model / "trained.safetensors").write_bytes(b"other"))
    with pytest.raises(LedgerError, match="changed while it was released"):
        release(ledger, model, tmp_path / "out", model_card)
    assert sorted(os.listdir(tmp_path)) == ["ledger.db", "model"]
    assert actions(ledger) == before


def test_who_receives_a_release_sees_each_edit_of_it(ledger, model, tmp_path):
    out = tmp_path / "out"
    release(ledger, model, out, model_card)
    edits = {
        "privacy.json was changed": lambda folder: edit(folder, epsilon=0.1),
        f"{CARD} was changed": lambda folder: (folder / CARD).write_text("better"),
        "trained.safetensors is missing": lambda folder: (folder / "trained.safetensors").unlink(),
        "more.txt was added": lambda folder: (folder / "more.txt").write_text(""),
        r"/privacy\.json was changed": lambda folder: edit(folder, ledger_run="5e1f"),
        "privacy.json is missing": lambda folder: (folder / "privacy.json").unlink(),
        "is no release of this ledger": lambda folder: [
            edit(folder, ledger_run="5e1f"),
            save_file({"w": np.ones(2, "f4")}, folder / "trained.safetensors"),
        ],
        "labels/README.md was added": lambda folder: (folder / "labels/README.md").write_text(""),
        r"folder .*/ana lives was added": lambda folder: (folder / "ana lives").mkdir(),
        r"folder .*/labels/readme\.md was added": lambda folder: (folder / "labels/readme.md").mkdir(),
        r"/README\.md was added": lambda folder: (folder / "README.md").mkdir(),
        "is a link": lambda folder: (folder / "more.txt").symlink_to(folder / CARD),
    }
    for sentence, change in edits.items():
        copy = tmp_path / "received"
        shutil.copytree(out, copy)
        assert check_release(ledger, copy)["detail"]["folder"] == "out"
        change(copy)
        with pytest.raises(LedgerError, match=sentence):
            check_release(ledger, copy)
        shutil.rmtree(copy)
    with pytest.raises(Refused, match="is not there"):
        check_release(ledger, tmp_path / "none")
    with writing(ledger._engine) as connection:
        connection.exec_driver_sql("UPDATE trail SET detail = '{}' WHERE action = 'release'")
    with pytest.raises(LedgerError, match="restore the ledger"):
        check_release(ledger, out)


@pytest.mark.parametrize("dtype", ["<f8", "<f4", "<f2"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_found_wherever_it_is(tmp_path, dtype, value):
    path = tmp_path / "a.safetensors"
    whole = np.linspace(-1e4, 1e4, 1000).astype(dtype)
    save_file(
        {"n": np.arange(3), "a": whole, "empty": np.zeros(0, dtype), "top": np.array([np.finfo(dtype).max])}, path
    )
    assert not_finite(path) is None
    for place in (0, 500, 999):
        bad = whole.copy()
        bad[place] = value
        save_file({"a": whole, "b": bad}, path)
        assert not_finite(path) == "b"


@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 40, b"\2" + bytes(7) + b"{}", b"\x10" + bytes(7) + b'{"a": [1, 2, 3]}']
)
def test_a_file_that_is_no_safetensors_is_a_sentence_or_has_none(tmp_path, content):
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    if content.endswith(b"{}"):
        assert not_finite(path) is None
        return
    with pytest.raises(LedgerError, match="is no whole safetensors file"):
        not_finite(path)


def command(capsys, *words) -> tuple[int, str]:
    status = dpjax([*map(str, words)])
    said = capsys.readouterr()
    return status, said.out + said.err


def test_from_a_run_to_a_release_on_breast_cancer(main, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DPJAX_LEDGER", str(tmp_path / "ledger.db"))
    ledger = create_ledger(who="ana")
    rows = fingerprint_of(columns_of("breast_cancer"))
    ledger.set_budget("cancer", rows, unit="example", adjacency="zero_out", epsilon=4.0, delta=1e-5)
    run = ("data=breast_cancer", "model=logistic", "optimizer.num_steps=8", "num_seeds=2", "figures=false")
    run += ("privacy.accountant=rdp", "privacy.delta=1e-5", "privacy.epsilon=1", "seed=3")
    jobs, told_elsewhere = {}, []
    fake = {"Settings": lambda **each: each, "Table": lambda **each: each, "Image": str}

    def init(**arguments):
        summary: dict = {}
        told_elsewhere.append((arguments, summary))
        log = lambda values, step=None: summary.update(values)  # noqa: E731
        return SimpleNamespace(summary=summary, log=log, finish=lambda: None)

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init, **fake))
    run += ("tracker=wandb", "tracker.mode=offline")
    for name, governance in {"free": "off", "job": "local"}.items():
        jobs[name] = tmp_path / name
        code, _, err = main(*run, "save_model=true", f"governance={governance}", f"hydra.run.dir={jobs[name]}")
        assert code == 0, err
    found = json.loads((jobs["job"] / "result.json").read_text())["rows"]
    ids = {run.id for run in ledger.account("cancer").runs}
    assert {row["ledger_run"] for row in found} == ids
    free_runs, paid_runs = told_elsewhere[:3], told_elsewhere[3:]
    assert all("test_accuracy" in repr(each) for each in free_runs)
    assert len(paid_runs) == 3
    for each in paid_runs:
        assert "epsilon_pld" in repr(each)
        assert not [name for name in ("accuracy", "test_loss", "train_loss", "norm_counts") if name in repr(each[1])]
    assert {row["ledger"] for row in found} == {ledger.name}
    assert told(jobs["job"] / "model")["ledger_run"] == found[0]["ledger_run"]
    free = json.loads((jobs["free"] / "result.json").read_text())["rows"]
    assert {(row["ledger"], row["ledger_run"]) for row in free} == {(None, None)}
    assert "ledger" not in told(jobs["free"] / "model")

    out = tmp_path / "out"
    for words, sentence in {
        (jobs["free"] / "model/none", "--to", out): "is not there",
        (jobs["job"] / ".hydra", "--to", out): "has no model; run it again with save_model=true.",
        (jobs["free"], "--to", out): "has no reservation in a ledger; run it with governance=local",
        (tmp_path / "none", "--to", out): "is not there; give the folder of a job.",
        (tmp_path, "--to", out): "has 2 jobs with a model; give one of them",
        (jobs["job"], "--to", out, "--seed", 4): "is of seed 3; run it with seed=4 save_model=true.",
        (jobs["job"],): "needs a RUN and --to FOLDER",
        ("--check", out, "--to", out): "--check takes a folder",
        ("--check", tmp_path / "none"): "is not there",
    }.items():
        status, said = command(capsys, "release", *words)
        assert status == 1
        assert said.startswith("error: ")
        assert sentence in said
        assert not out.exists()
    status, said = command(capsys, "release", jobs["job"], "--to", out, "--seed", 3)
    assert status == 0, said
    assert claim(found[0] | {"overflow_count": 0}) in said
    weights = load_file(out / "trained.safetensors")
    assert all(np.isfinite(each).all() for each in weights.values())
    assert not [row for row in found if str(row["test_accuracy"])[:6] in (out / CARD).read_text()]
    assert command(capsys, "release", "--check", out)[0] == 0
    status, said = command(capsys, "release", jobs["job"] / "model", "--to", tmp_path / "again")
    assert status == 0, said
    ledger.verify()


def test_the_sentence_on_an_edited_epsilon_speaks_of_no_option(ledger, model, tmp_path, capsys):
    edit(model, epsilon=1.0)
    status, said = command(capsys, "release", model, "--to", tmp_path / "out", "--ledger", tmp_path / "ledger.db")
    assert status == 1
    assert said.startswith(f"error: epsilon=1 at δ={DELTA:g} is what privacy.json claims")


@pytest.mark.parametrize("later", ["5e1f", None])
def test_a_model_of_an_earlier_run_than_the_result_beside_it_is_not_taken_for_that_ones(
    ledger, tmp_path, capsys, monkeypatch, later
):
    (tmp_path / "job").mkdir()
    folder = trained(ledger, tmp_path / "job/model", mechanism(noise_multiplier=4.0, steps=5))
    id = told(folder)["ledger_run"]
    words = ("--to", tmp_path / "out", "--ledger", tmp_path / "ledger.db")
    write_job_result(tmp_path / "job", [{"seed": 0, "epsilon": 2.0, "ledger_run": later}], "d")
    status, said = command(capsys, "release", tmp_path / "job", *words)
    assert status == 1
    assert f"has the model of run {id[:40]}, and result.json of a later one" in said
    assert not (tmp_path / "out").exists()
    assert command(capsys, "release", folder, *words)[0] == 0
    shutil.rmtree(tmp_path / "out")
    write_job_result(tmp_path / "job", [{"seed": 0, "epsilon": 2.0, "ledger_run": id}], "d")
    assert command(capsys, "release", tmp_path / "job", *words)[0] == 0
    shutil.rmtree(tmp_path / "out")
    add_key(f"file:{tmp_path / 'keys'}")
    monkeypatch.setenv("DPJAX_KEYS", f"file:{tmp_path / 'keys'}")
    write_job_result(tmp_path / "job", [{"seed": 0, "epsilon": 2.0, "ledger_run": id}], "d", seal=True)
    monkeypatch.delenv("DPJAX_KEYS")
    status, said = command(capsys, "release", tmp_path / "job", *words)
    assert status == 0
    assert "result.json is sealed, so nobody looked" in said


def test_steps_that_clients_take_inside_are_spent_each(main, tmp_path, monkeypatch):
    monkeypatch.setenv("DPJAX_LEDGER", str(tmp_path / "ledger.db"))
    ledger = create_ledger(who="ana")
    rows = fingerprint_of(columns_of("breast_cancer"))
    ledger.set_budget("cancer", rows, unit="example", adjacency="zero_out", epsilon=4.0, delta=1e-5)
    code, _, err = main(
        *("data=breast_cancer", "model=logistic", "federated=inside_clients", "federated.num_clients=4"),
        *("federated.clients_per_round=4", "federated.local_steps=3", "optimizer.num_steps=2", "num_seeds=1"),
        *("figures=false", "privacy.accountant=rdp", "privacy.delta=1e-5", "privacy.epsilon=2", "governance=local"),
        *("save_model=true", f"hydra.run.dir={tmp_path / 'job'}"),
    )
    assert code == 0, err
    [run] = ledger.account("cancer").runs
    assert run.steps == run.spend.steps == 6
    assert 1.5 < ledger.account("cancer").spent <= 2
    release(ledger, tmp_path / "job/model", tmp_path / "out", model_card)
