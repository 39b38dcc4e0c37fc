"""Token ids of one's own: read as they are, refused by row, and a run on them is the run on their texts."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pyarrow
import pytest
from hydra import compose, initialize_config_dir
from pyarrow import parquet

from dpjax.datasets import DatasetError
from dpjax.datasets.own_tables.reading import load_table
from dpjax.datasets.own_tables.source import TableSource
from dpjax.datasets.own_tables.tokens import load_tokens
from dpjax.datasets.selection import hold_out
from dpjax.models import pretrained
from dpjax.models.pretrained import CheckpointError, encode_ids, word_tokenizer
from dpjax.models.transformers import tiny
from dpjax.models.tuning import fresh_parameters
from experiments import jobs
from experiments.border import from_hydra
from experiments.config import CONF, ConfigError
from experiments.own_data import load_own
from experiments.setup import build
from experiments.task import Job

RNG = np.random.default_rng(5)
WORDS = ["good", "bad", "film", *[f"w{i}" for i in range(59)]]
TOKENIZER = word_tokenizer(WORDS)
TEXTS = [
    " ".join([("good", "bad")[i % 2], *RNG.choice(WORDS[2:-1], RNG.integers(1, 11))]) + f" w{i % 58}"
    for i in range(120)
]
IDS = [[int(x) for x in row if x >= 0] for row in TOKENIZER.encode(TEXTS, 64).ids]
ROWS: list[dict[str, Any]] = [
    {"input_ids": ids, "text": text, "kind": ("fresh", "rotten")[i % 2], "who": f"u{i % 30:02d}", "place": i}
    for i, (ids, text) in enumerate(zip(IDS, TEXTS, strict=True))
]
NAMES = ("fresh", "rotten")


def write(path: Path, rows: list[dict[str, Any]], kind: Any = None) -> str:
    table = pyarrow.Table.from_pylist(rows)
    if kind is not None:
        table = table.set_column(0, "input_ids", pyarrow.array([row["input_ids"] for row in rows], kind))
    if path.suffix == ".parquet":
        parquet.write_table(table, path)
    elif path.suffix == ".arrow":
        with pyarrow.OSFile(str(path), "wb") as out, pyarrow.ipc.new_file(out, table.schema) as file:
            file.write_table(table, max_chunksize=7)
    else:
        path.write_text("\n".join(json.dumps(row) for row in rows))
    return str(path)


def source(path: str, **more: Any) -> TableSource:
    return replace(TableSource(path, label="kind", unit="who", classes=NAMES), **more)


def contents(data):
    return [(row.tolist(), int(label)) for row, label in zip(data.train_inputs, data.train_labels, strict=True)]


@pytest.mark.parametrize(
    "kind", [getattr(pyarrow, f"{sign}int{bits}")() for sign in ("", "u") for bits in (8, 16, 32, 64)], ids=str
)
def test_ids_of_every_width_are_the_same_ids(kind, tmp_path):
    data = load_tokens(source(write(tmp_path / "a.parquet", ROWS, pyarrow.list_(kind))), "input_ids")
    large = load_tokens(source(write(tmp_path / "b.arrow", ROWS, pyarrow.large_list(kind))), "input_ids")
    assert contents(data) == contents(large)
    assert (data.task, data.class_names, data.learnt) == ("tokens", NAMES, "")
    assert data.remarks == "whether the checkpoint's own tokenizer made the ids is not known"
    assert all(row.dtype == np.int32 for row in data.train_inputs)
    by_ids = {(tuple(row["input_ids"]), row["kind"], row["who"]) for row in ROWS}
    assert data.train_units is not None
    units = [data.unit_names[unit] for unit in data.train_units]
    assert {(tuple(ids), NAMES[label], who) for (ids, label), who in zip(contents(data), units, strict=True)} <= by_ids


def test_json_lines_and_arrays_hold_the_same_ids(tmp_path):
    typed = load_tokens(source(write(tmp_path / "a.parquet", ROWS)), "input_ids")
    lines = load_tokens(source(write(tmp_path / "a.jsonl", ROWS)), "input_ids")
    assert contents(typed) == contents(lines)
    longest = max(map(len, IDS))
    padded = np.full((len(IDS), longest), 63, np.uint8)
    mask = np.zeros(padded.shape, np.int64)
    for row, on, ids in zip(padded, mask, IDS, strict=True):
        row[: len(ids)], on[: len(ids)] = ids, 1
    roles: dict[str, Any] = {
        "kind": np.array([row["kind"] for row in ROWS]),
        "who": np.array([row["who"] for row in ROWS]),
    }
    np.savez(tmp_path / "a.npz", ids=padded, mask=mask, lengths=mask.sum(1), **roles)
    np.savez(tmp_path / "left.npz", ids=padded[:, ::-1].astype(">i4"), mask=mask[:, ::-1], **roles)
    of_arrays = source(str(tmp_path / "a.npz"))
    options: dict[str, Any]
    for options in ({"mask": "mask"}, {"mask": "lengths"}, {"padding": 63}):
        assert contents(load_tokens(of_arrays, "ids", **options)) == contents(typed)
    left = load_tokens(source(str(tmp_path / "left.npz")), "ids", mask="mask")
    assert [(row[::-1], label) for row, label in contents(left)] == contents(typed)


def test_padding_moves_nobody_to_the_other_side(tmp_path):
    rows = source(write(tmp_path / "a.parquet", ROWS), unit="", split="rows")
    padded = [row | {"input_ids": [*row["input_ids"], 63, 63][: 40 + i % 2]} for i, row in enumerate(ROWS)]
    other = source(write(tmp_path / "b.parquet", padded), unit="", split="rows")
    one, two = load_tokens(rows, "input_ids"), load_tokens(other, "input_ids", padding=63)
    assert contents(one) == contents(two)
    held, theirs = hold_out(one, 0.3)[1], hold_out(two, 0.3)[1]
    assert held is not None
    assert theirs is not None
    assert [row.tolist() for row in held.inputs] == [row.tolist() for row in theirs.inputs]


def test_without_one_owner_only_theirs_is_gone(tmp_path):
    whole = load_tokens(source(write(tmp_path / "a.parquet", ROWS)), "input_ids")
    fewer = load_tokens(source(write(tmp_path / "b.parquet", [r for r in ROWS if r["who"] != "u03"])), "input_ids")
    assert {tuple(ids) for ids, _ in contents(fewer)} <= {tuple(ids) for ids, _ in contents(whole)}


def test_rows_without_a_label_are_for_a_model_of_what_comes_next(tmp_path):
    np.save(tmp_path / "ids.npy", np.array([ids[:3] for ids in IDS]))
    for path in (write(tmp_path / "a.parquet", ROWS), str(tmp_path / "ids.npy")):
        data = load_tokens(TableSource(path), "input_ids")
        assert len(data.train_inputs) + len(data.test_inputs) == len(ROWS)
        assert data.class_names == ("text",)
        assert data.learnt == ""


def test_one_array_has_no_labels_and_is_never_unpickled(tmp_path):
    np.save(tmp_path / "ids.npy", np.array([ids[:3] for ids in IDS]))
    with pytest.raises(DatasetError, match="is one array without kind; save both"):
        load_tokens(source(str(tmp_path / "ids.npy"), unit=""), "ids")
    np.save(tmp_path / "objects.npy", np.array([*IDS, None], object), allow_pickle=True)
    with pytest.raises(DatasetError, match="holds Python objects"):
        load_tokens(TableSource(str(tmp_path / "objects.npy")), "ids")


def changed(**fields):
    return [row | fields if i == 4 else row for i, row in enumerate(ROWS)]


@pytest.mark.parametrize(
    ("rows", "options", "sentence"),
    [
        (changed(input_ids=[3, -100, 4]), {}, "row 5 of input_ids holds -100, .* say data.padding=-100"),
        (changed(input_ids=[3, 2**31, 4]), {}, "row 5 of input_ids holds 2147483648, past 32 bits"),
        (changed(input_ids=[]), {}, "row 5 of input_ids holds no ids"),
        (changed(input_ids=[0, 0]), {"padding": 0}, "row 5 of input_ids holds no ids"),
        (changed(input_ids=[3, 0, 4]), {"padding": 0}, "row 5 of input_ids holds the padding 0 between other ids"),
        (changed(input_ids=None), {}, "input_ids is missing in row 5"),
        (changed(input_ids=[3, None]), {}, "input_ids holds nothing in the middle of row 5"),
        (
            [row | {"input_ids": [0.5]} for row in ROWS],
            {},
            "holds list<.*double>, in row 1 0.5, and must hold lists of whole numbers",
        ),
        ([row | {"input_ids": "1 2"} for row in ROWS], {}, "holds string .*; texts are named by data.text"),
        ([row | {"m": [1, 0, 1, *[1] * len(row["input_ids"])][3:]} for row in changed()], {"mask": "nn"}, "'nn' is no"),
        ([row | {"m": [1] * 3} for row in ROWS], {"mask": "m"}, "row 1 m is of 3 and input_ids of"),
        ([row | {"m": [2] * len(row["input_ids"])} for row in ROWS], {"mask": "m"}, "m holds 2; it must hold 1 for"),
        ([row | {"m": [i != 1 for i in range(len(row["input_ids"]))]} for row in ROWS], {"mask": "m"}, "in the middle"),
        ([row | {"m": [int(i != 1) for i in range(len(row["input_ids"]))]} for row in ROWS], {"mask": "m"}, "middle"),
        ([row | {"m": 99} for row in ROWS], {"mask": "m"}, "row 1 m says 99 ids, and input_ids holds"),
    ],
)
def test_what_is_no_token_is_said_with_its_row(rows, options, sentence, tmp_path):
    with pytest.raises(DatasetError, match=sentence):
        load_tokens(source(write(tmp_path / "a.parquet", rows)), "input_ids", **options)


def test_arrays_that_are_no_ids_are_refused(tmp_path):
    kind = np.array([row["kind"] for row in ROWS])
    for ids, sentence in ((np.zeros((120, 3)), "float64"), (np.arange(120), r"shape \[120\]")):
        np.savez(tmp_path / "a.npz", ids=ids, kind=kind)
        with pytest.raises(DatasetError, match=f"ids is of .*{sentence}.*give whole numbers"):
            load_tokens(source(str(tmp_path / "a.npz"), unit=""), "ids")
    with pytest.raises(DatasetError, match="no array 'idz' is there; it has ids, kind"):
        load_tokens(source(str(tmp_path / "a.npz"), unit=""), "idz")


def test_a_row_is_cut_as_its_text_would_be_and_held_to_the_vocabulary():
    rows = [np.array(ids, np.int32) for ids in IDS]
    for length in (4, 8, 64):
        ours, theirs = encode_ids(rows, TOKENIZER, length), TOKENIZER.encode(TEXTS, length)
        np.testing.assert_array_equal(ours.ids, theirs.ids)
        np.testing.assert_array_equal(ours.cut, theirs.cut)
    with pytest.raises(CheckpointError, match="holds the id 64, and the checkpoint's vocabulary ends at 63"):
        encode_ids([np.array([3, 64])], TOKENIZER, 8)
    with pytest.raises(CheckpointError, match="max_length is 3, which leaves no room"):
        encode_ids(rows, TOKENIZER, 3)


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl"])
def test_a_table_with_ids_beside_its_columns_says_what_to_do(name, tmp_path):
    path = write(tmp_path / name, ROWS)
    with pytest.raises(
        DatasetError, match=r"'input_ids' holds lists.*\{input_ids: skip\}, or say data\.tokens=input_ids"
    ):
        load_table(source(path))
    data = load_table(source(path, columns={"input_ids": "skip", "place": [0, 120], "text": "skip"}))
    assert data.feature_names == ("place",)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokens")
    source = np.random.default_rng(0)
    for family, arch in (("bert", tiny("bert", num_layers=1)), ("llama", tiny("llama", num_layers=1))):
        fresh = fresh_parameters(tiny(family), jax.random.key(1))
        body = {path: (x + 0.1 * source.normal(size=x.shape)).astype(np.float32) for path, x in fresh.items()}
        body = {path: x for path, x in body.items() if not path.startswith("layers.1.")}
        pretrained.save(folder / family, arch, body, TOKENIZER)
    write(folder / "rows.parquet", ROWS)
    return folder


def composed(world, *overrides, family="bert"):
    fixed = [
        "data=own",
        f"data.path={world / 'rows.parquet'}",
        "model=pretrained",
        f"model.checkpoint={world / family}",
    ]
    fixed += ["model.max_length=8", "model.num_lengths=1", "num_seeds=1", "privacy.delta=1e-3"]
    with initialize_config_dir(str(CONF.resolve()), version_base=None):
        cfg = compose("config", [*fixed, "optimizer.num_steps=2", "optimizer.evaluate_every=2", *overrides])
    return from_hydra(cfg)


def row_of(cfg, folder):
    (outcome,) = jobs.run_group([Job(cfg, folder, "")])
    assert outcome.error is None, outcome.error
    return outcome.rows[0]


LABELLED = ["data.label=kind", "data.classes=[fresh,rotten]", "data.unit=who"]


@pytest.mark.parametrize(
    "more",
    [
        ["tuning=bitfit", "privacy.records_per_unit=2", "data.validation=0.2"],
        [
            "tuning=head", "federated=fedavg", "federated.partition=natural", "federated.clients_per_round=4",
            "data.split=rows", "data.split_column=null",
        ],
    ],
    ids=["owners", "clients"],
)  # fmt: skip
def test_a_run_on_ids_is_the_run_on_their_texts(more, world, tmp_path, monkeypatch):
    monkeypatch.setenv("DPJAX_MODELS_DIR", str(tmp_path / "models"))
    split = [] if "data.split=rows" not in more else ["data.split=time", "data.split_column=place", "data.split_at=96"]
    more = [each for each in more if not each.startswith("data.split")] + split
    texts = row_of(composed(world, *LABELLED, *more, "data.text=[text]"), tmp_path)
    ids = row_of(composed(world, *LABELLED, *more, "data.tokens=input_ids"), tmp_path)
    same = ("test_loss", "test_accuracy", "train_loss", "epsilon_pld", "noise_multiplier", "cut_share", "num_train")
    for name in same:
        assert ids.get(name) == texts.get(name), name
    assert "the ids is not known" in ids["checkpoint"]
    assert "not known" not in texts["checkpoint"]


def test_a_model_of_what_comes_next_reads_ids_without_a_label(world, tmp_path):
    cfg = composed(
        world, "data.tokens=input_ids", "model.task=causal", "tuning=prefix", "data.unit=who", family="llama"
    )
    row = row_of(cfg, tmp_path)
    assert np.isfinite(row["test_loss"])
    assert row["learnt"] is None


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["data.text=[text]"], "data.text=.* is not read of token ids"),
        (["data.columns={a: skip}"], "data.columns=.* is not read of token ids"),
        (["model=mlp"], "model=mlp reads no token ids, which data=rows.parquet holds; use model=pretrained"),
        (["model.task=synthetic"], "writes texts, and data=rows.parquet holds token ids"),
        (["model.task=completion"], "has single texts"),
        (["data.tokens=place"], "column 'place' holds int64 and must hold lists"),
    ],
)
def test_what_does_not_go_with_ids_is_refused(more, sentence, world):
    with pytest.raises((ConfigError, DatasetError), match=sentence):
        build(composed(world, *LABELLED, "data.tokens=input_ids", *more, family="llama"))


def test_other_data_reads_no_padding(world):
    cfg = composed(world, *LABELLED, "data.text=[text]")
    assert load_own(cfg.data).task == "document"


def test_looking_at_ids_says_their_lengths_and_proposes_a_config(tmp_path, capsys):
    from dpjax.cli import main as dpjax

    file, draft = tmp_path / "mails.jsonl", tmp_path / "mails.yaml"
    rows = [{"ids": [5, i, 7, 0, 0][: 3 + i % 3], "kind": "hs"[i % 2], "who": i // 3} for i in range(1, 61)]
    file.write_text("\n".join(map(json.dumps, rows)))

    def said(*words):
        with pytest.raises(SystemExit) as done:
            dpjax(["data", "inspect", str(file), *words])
        return done.value.code or 0, *capsys.readouterr()

    words = ["--tokens", "ids", "--padding", "0", "--label", "kind", "--unit", "who", "--save", str(draft)]
    code, out, err = said(*words)
    assert code == 0, err
    assert "60 rows of token ids, ids 1 to 60" in out
    assert "ids of a row: least, median, most 3, 3, 3" in out
    assert "21 owners (who)" in out
    assert "NOT private, learnt from the rows: classes of kind" in out
    lines = draft.read_text().splitlines()
    assert "  tokens: ids" in lines
    assert "  padding: 0" in lines
    assert "  checkpoint: ???  # whose tokenizer made the ids, as minilm" in lines
    code, out, _ = said("--tokens", "ids")  # for a model of what comes next
    assert code == 0
    assert "  task: causal" in out
    assert "ids 0 to 60" in out
    assert said("--padding", "0")[2] == "error: --padding is of token ids; say --tokens COLUMN too\n"


def test_what_is_done_with_ids_is_not_called_tokenizing(world):
    told = []
    build(composed(world, *LABELLED, "data.tokens=input_ids"), tell=lambda stage, done, total: told.append(stage))
    assert "cutting the ids of rows.parquet" in told
    assert not any("tokenizing" in each for each in told)
