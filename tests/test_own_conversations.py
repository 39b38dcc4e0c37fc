"""Conversations of one's own: read alike from each kind of file, refused by row, and run by owner."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from dpjax.cli import main
from dpjax.datasets import DatasetError
from dpjax.datasets.own_tables.conversations import load_conversations, read_turns
from dpjax.datasets.own_tables.reading import load_table
from dpjax.datasets.own_tables.source import TableSource
from dpjax.models import pretrained
from dpjax.models.transformers import tiny
from dpjax.models.tuning import fresh_parameters
from experiments.config import ConfigError
from experiments.setup import build
from tests.chats import CHATML, tokenizer_of, turns, write_chats
from tests.text_runs import composed, row_of

ROWS: list[dict[str, Any]] = [
    {
        "messages": turns(f"how are you {i}", "fine", f"be kind {i}", "thanks"),
        "who": f"u{i % 12:02d}",
        "kind": "ab"[i % 2],
    }
    for i in range(60)
]


def write(path: Path, rows: list[dict[str, Any]]) -> TableSource:
    if path.suffix == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        path.write_text("\n".join(map(json.dumps, rows)))
    return TableSource(str(path), unit="who")


def contents(data):
    return sorted(json.dumps(read_turns(row)) for row in data.train_inputs.ravel().tolist())


def test_each_kind_of_file_holds_the_same_conversations(tmp_path):
    found = [
        load_conversations(write(tmp_path / f"a.{kind}", ROWS), ["messages"]) for kind in ("jsonl", "json", "parquet")
    ]
    assert contents(found[0]) == contents(found[1]) == contents(found[2])
    assert (found[0].task, found[0].input_shape, found[0].unit, found[0].learnt) == ("chat", (), "who", "")
    named = [row | {"messages": [turn | {"name": None} for turn in row["messages"]]} for row in ROWS]
    assert contents(load_conversations(write(tmp_path / "b.parquet", named), ["messages"])) == contents(found[0])


def test_two_and_three_columns_are_turns_too(tmp_path):
    write_chats(tmp_path)
    source = TableSource(str(tmp_path / "pairs.jsonl"), unit="user")
    two = load_conversations(source, ["prompt", "chosen"])
    assert [turn["role"] for turn in read_turns(two.train_inputs[0])] == ["user", "assistant"]
    three = load_conversations(source, ["prompt", "chosen", "rejected"])
    assert three.input_shape == (3,)
    prompt, chosen, rejected = map(read_turns, three.train_inputs[0].tolist())
    assert (prompt[0]["role"], chosen, rejected[0]["content"][:2]) == (
        "user",
        turns("fine thanks", first="assistant"),
        "be",
    )
    listed = [
        {"p": turns("hi", "you", "how"), "c": turns("fine", first="assistant"), "r": "kind", "who": f"u{i}"}
        for i in range(20)
    ]
    mixed = load_conversations(write(tmp_path / "l.jsonl", listed), ["p", "c", "r"])
    assert [len(read_turns(part)) for part in mixed.train_inputs[0].tolist()] == [3, 1, 1]


@pytest.mark.parametrize("gone", ["u03", "u11"])
def test_without_one_owner_everybody_else_is_as_they_were(gone, tmp_path):
    whole = load_conversations(write(tmp_path / "a.jsonl", ROWS), ["messages"])
    rest = [row for row in ROWS if row["who"] != gone]
    fewer = load_conversations(write(tmp_path / "b.jsonl", rest), ["messages"])
    for side in ("train", "test"):

        def by_owner(data, side=side):
            names = [data.unit_names[unit] for unit in getattr(data, f"{side}_units")]
            return {(name, text) for name, text in zip(names, getattr(data, f"{side}_inputs").tolist(), strict=True)}

        assert {pair for pair in by_owner(whole) if pair[0] != gone} == by_owner(fewer)


def changed(messages):
    return [row | {"messages": messages} if i == 4 else row for i, row in enumerate(ROWS)]


@pytest.mark.parametrize(
    ("rows", "columns", "sentence"),
    [
        (changed(None), ["messages"], "row 5 column 'messages' holds nothing and must hold a list of turns"),
        (changed([]), ["messages"], "column 'messages' holds lists and must hold lists of turns|row 5"),
        (changed("hi"), ["messages"], "column 'messages' holds lists and words and must hold lists of turns"),
        (changed([{"role": "user"}]), ["messages"], "row 5 column 'messages': turn 1 .* content"),
        (
            changed([{"role": "user", "content": " "}]),
            ["messages"],
            "row 5 .* turn 1 has the content ' '; it must be a text",
        ),
        (
            changed([{"role": "", "content": "hi"}]),
            ["messages"],
            "row 5 .* turn 1 has the role ''; say user or assistant",
        ),
        (changed(turns("hi")), ["messages"], r"row 5: no turn is the assistant's \(they are of user\)"),
        (changed([{"role": "user", "content": ["hi"]}]), ["messages"], "holds lists and must hold lists of turns"),
        (
            changed([*turns("hi", "you"), {"role": "tool", "content": "x", "tool_call_id": "7"}]),
            ["messages"],
            "row 5 .* turn 3 has tool_call_id, which is not read",
        ),
        (ROWS, ["mesages"], "did you mean 'messages'"),
        (ROWS, ["messages", "messages"], "must be one column of conversations, two of prompt and answer"),
        (ROWS, [], "must be one column of conversations"),
        (ROWS, ["who"], "row 1 column 'who' holds 'u00' and must hold a list of turns|has two roles"),
    ],
)
def test_what_is_no_conversation_is_named_by_its_row(rows, columns, sentence, tmp_path):
    with pytest.raises(DatasetError, match=sentence) as found:
        load_conversations(write(tmp_path / "a.jsonl", rows), columns)
    assert "\n" not in str(found.value)


def test_a_table_says_that_it_holds_conversations(tmp_path):
    source = replace(write(tmp_path / "a.parquet", ROWS), label="kind")
    with pytest.raises(DatasetError, match=r"or say data.messages=\[messages\] where they are conversations"):
        load_table(source)


def test_inspect_proposes_a_config(tmp_path, capsys):
    write_chats(tmp_path)
    with pytest.raises(SystemExit):
        main(["data", "inspect", str(tmp_path / "chats.jsonl"), "--messages", "messages", "--unit", "user"])
    printed = capsys.readouterr().out
    assert "60 conversations, of the roles assistant, user" in printed
    assert "  messages: [messages]\n" in printed
    assert "  task: completion\n" in printed
    with pytest.raises(SystemExit):
        main(["data", "inspect", str(tmp_path / "pairs.jsonl"), "--messages", "prompt,chosen,rejected"])
    printed = capsys.readouterr().out
    assert "60 pairs of answers" in printed
    assert "  task: preference\n" in printed


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    arch = tiny("llama", num_layers=1)
    pretrained.save(folder / "llama", arch, fresh_parameters(arch, jax.random.key(1)), tokenizer_of(CHATML))
    pretrained.save(
        folder / "plain", arch, fresh_parameters(arch, jax.random.key(1)), pretrained.word_tokenizer(["hi"])
    )
    write_chats(folder)
    return folder


def test_a_run_for_users_learns_answers_and_keeps_its_template(world, tmp_path):
    asked = ["data.messages=[messages]", "data.unit=user", "privacy.records_per_unit=3", "model.task=completion"]
    row = row_of(composed(world, "chats.jsonl", *asked, "save_model=true", "tuning=full"), tmp_path)
    assert (row["unit"], row["cut_share"]) == ("user", 0)
    assert row["epsilon_pld"] <= 1.001
    kept = pretrained.load(tmp_path / "model").tokenizer.chat
    assert kept is not None
    assert kept.source == CHATML


def test_only_the_assistants_tokens_are_scored(world):
    counted = {}
    for task in ("causal", "completion"):
        made = build(composed(world, "chats.jsonl", "data.messages=[messages]", f"model.task={task}"))
        start = made.problem.init(made.problem.frozen, jax.random.key(0))
        ids, marks = made.arrays.units
        counted[task] = int(np.asarray(marks).sum()) if marks.ndim > 1 else int((np.asarray(ids)[:, 1:] >= 0).sum())
        assert np.isfinite(float(made.problem.evaluate(made.problem.frozen, start, made.problem.test_rows)["loss"]))
    assert 0 < counted["completion"] < counted["causal"] / 2


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (["model.task=completion", "model.checkpoint={world}/plain"], "the checkpoint has no chat template; take one"),
        (["model.task=classify"], "has no classes; use causal or completion"),
        (["model.task=synthetic"], "holds conversations; use data.text"),
        (["model=mlp"], "reads no conversations"),
        (["model.task=completion", "data.columns={a: skip}"], "is not read of conversations"),
        (
            [
                "model.task=completion",
                "federated=fedavg",
                "federated.clients_per_round=4",
                "federated.partition=dirichlet",
            ],
            "goes by classes, and of data=.* tokens or pairs are scored",
        ),
    ],
)
def test_what_does_not_go_with_conversations_is_said_in_one_sentence(asked, sentence, world):
    asked = [each.replace("{world}", str(world)) for each in asked]
    if "model=mlp" in asked:
        asked = ["model.name=mlp"]
    cfg = composed(world, "chats.jsonl", "data.messages=[messages]", *asked)
    with pytest.raises((ConfigError, ValueError), match=sentence) as found:
        build(cfg)
    assert "\n" not in str(found.value)
