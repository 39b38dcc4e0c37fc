"""From a file of one's own to figures, tables and a report, as the guide says it."""

import datetime
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from dpjax.datasets import DatasetError
from dpjax.report.contents import gather
from dpjax.report.packing import pack
from dpjax.report.sweep_state import command
from dpjax.results import load
from experiments.config import ConfigError
from experiments.own_experiment import with_own_experiments
from tests.patients import write_patients

PAGE = Path(__file__).parents[1] / "docs/how-to/own-data.md"
YAML = re.search(r"^```yaml\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """With the guide's table, a tenth as long, and its YAML."""
    monkeypatch.chdir(tmp_path)
    write_patients(tmp_path / "patients.csv", rows=500)
    assert YAML is not None
    (tmp_path / "patients.yaml").write_text(YAML[1])
    return tmp_path


FEW = ["optimizer.num_steps=3", "num_seeds=1", "privacy.accountant=rdp", "privacy.delta=1e-3"]


def rows_of(folder):
    rows = load(next(folder.rglob("results.parquet")))
    return rows.astype(object).where(rows.notna(), None).to_dict("records")


def test_the_guide_s_file_of_ten_lines_is_swept_and_claims_what_it_may(folder, main):
    assert YAML is not None
    assert len(YAML[1].splitlines()) <= 10
    code, _, err = main("-m", "experiment=patients.yaml", *FEW)
    assert code == 0, err
    rows = rows_of(folder)
    assert len(rows) == 7
    assert {row["dataset"] for row in rows} == {"patients.csv"}
    assert {row["experiment"] for row in rows} == {"patients"}
    assert {row["unit"] for row in rows} == {"user"}
    ((units, records),) = {(row["num_units"], row["population"]) for row in rows}
    assert units < records  # owners, of whom each has several rows
    assert {row["learnt"] for row in rows} == {None}
    assert all(0 <= row["test_auroc"] <= 1 for row in rows)
    assert (folder / "patients/figures/privacy_utility_curve.png").is_file()
    from dpjax.cli import main as dpjax

    for words in (
        ["report", str(folder / "patients")],
        ["results", "export", str(folder / "patients"), "--out", "tables"],
    ):
        with pytest.raises(SystemExit) as done:
            dpjax(words)
        assert done.value.code in (0, None)
    assert r"\begin{tabular}" in next(Path("tables").glob("*.tex")).read_text()


def test_what_is_learnt_from_the_rows_is_in_the_row(folder, main):
    code, _, err = main("experiment=patients.yaml", "data.columns.bmi=number", *FEW, "figures=false")
    assert code == 0, err
    (row,) = rows_of(folder)
    assert row["learnt"] == "range of bmi; which values are missing of bmi"


def test_the_same_file_by_hospital_is_a_federation(folder, main, recwarn):
    few = [each for each in FEW if not each.startswith("privacy.delta")]
    code, _, err = main(
        "experiment=patients.yaml",
        "data.unit=hospital",
        "data.split=rows",
        "privacy.records_per_unit=null",
        "federated=fedavg",
        "federated.partition=natural",
        "federated.clients_per_round=4",
        "privacy.delta=1e-2",
        *few,
    )
    assert code == 0, err
    (row,) = rows_of(folder)
    assert (row["unit"], row["num_clients"], row["num_units"], row["partition"]) == ("client", 8, 8, "natural")
    said = " ".join(str(each.message) for each in recwarn)
    assert "δ=0.01 is large: it allows to give each of 8 clients away whole with a chance of 1 in 100" in said


def test_the_guide_s_federation_has_a_folder_of_its_own_and_mixed_units_are_said(folder, main):
    line = re.search(r"-m (experiment=patients\.yaml name=hospitals .*)", PAGE.read_text(encoding="utf-8"))
    assert line is not None
    few = [*FEW, "figures=false", "hydra.sweeper.params={privacy.epsilon: 3}"]
    assert main("-m", "experiment=patients.yaml", *few)[0] == 0
    code, _, err = main("-m", *line[1].split(), *few)
    assert code == 0, err
    assert "beside" not in err
    units = {name: set(load(folder / name)["unit"]) for name in ("patients", "hospitals")}
    assert units == {"patients": {"user"}, "hospitals": {"client"}}
    code, _, err = main("-m", *line[1].replace("name=hospitals ", "").split(), *few)
    assert code == 0, err
    said = "patients has rows per user of an earlier command beside those per client; name=NAME keeps a sweep apart."
    assert f"{said}\n" in err


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "can't be read (No such file or directory)"),
        ("data: [1, 2", "is no YAML in line"),
        ("just words", "holds no fields"),
        (b"\xff\xfe", "is not UTF-8"),
    ],
)
def test_a_file_that_is_no_experiment_is_refused_in_one_sentence(text, sentence, tmp_path, main):
    path = tmp_path / "mine.yaml"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=re.escape(sentence)), with_own_experiments([f"experiment={path}"]):
        pass
    code, _, err = main(f"experiment={path}")
    assert code != 0
    assert err.count("\n") == 1
    assert sentence in err


def test_an_unknown_field_of_the_file_is_named(folder, main):
    (folder / "patients.yaml").write_text("privacy: {epsilonn: 3}\n")
    code, _, err = main("experiment=patients.yaml")
    assert code != 0
    assert "did you mean privacy.epsilon?" in err


def test_columns_are_said_on_the_command_line_too_and_may_be_an_axis(folder, main):
    where = ["data=own", "data.path=patients.csv", "data.label=diagnosis"]
    code, _, err = main(
        "-m", *where, "data.columns.age=[0,110],[0,50]", "data.columns.bmi=number", *FEW, "figures=false"
    )
    assert code == 0, err
    private = [row for row in rows_of(folder) if row["epsilon"] != float("inf")]
    assert len(private) == 2
    assert all("range of date, bmi and pressure;" in row["learnt"] for row in private)


def test_a_sweep_is_called_as_the_command_line_says(folder, main):
    quick = ["data=digits", "model=logistic", *FEW[:3], "figures=false"]
    assert main("-m", "name=widths", "privacy.epsilon=1", *quick)[0] == 0
    assert {row["experiment"] for row in rows_of(folder)} == {"widths"}
    assert (folder / "widths/results.parquet").is_file()
    assert "name=a/b names a folder" in main("name=a/b", *quick)[2]
    assert "a sweep has one name" in main("-m", "name=a,b", *quick)[2]


def test_a_column_of_texts_is_read_as_documents_with_owners(tmp_path):
    import pyarrow
    from pyarrow import parquet

    from experiments.config import DataConf
    from experiments.own_data import load_own

    rows = {
        "review": [f"text {i}" for i in range(60)],
        "stars": [i % 3 for i in range(60)],
        "who": [i % 20 for i in range(60)],
    }
    parquet.write_table(pyarrow.table(rows), tmp_path / "reviews.parquet")
    asked = DataConf(name="own", path=str(tmp_path / "reviews.parquet"), text=["review"], label="stars", unit="who")
    data = load_own(asked)
    assert (data.task, data.class_names, data.num_units) == ("document", ("0", "1", "2"), 20)
    assert data.learnt == "classes of stars"
    assert data.split == "owners (who) 80/20 by a hash of their names"
    classes = load_own(replace(asked, classes=["2", "1", "0"]))
    assert (classes.class_names, classes.learnt) == (("2", "1", "0"), "")
    assert load_own(replace(asked, split="rows")).split == "rows 80/20 by a hash of what they hold"
    with pytest.raises(DatasetError, match=r"which column holds labels\? .* say data\.label=COLUMN"):
        load_own(replace(asked, label=""))
    with pytest.raises(ConfigError, match=r"data\.split=rows is not read of texts without a label"):
        load_own(replace(asked, label="", split="rows"))
    with pytest.raises(ConfigError, match=r"data\.columns=.* is not read of texts"):
        load_own(replace(asked, columns={"stars": "skip"}))


def test_a_group_named_by_a_word_is_the_option_of_that_name(folder, main):
    path = folder / "words.yaml"
    path.write_text("model: cnn\nclipping: automatic\ndata: digits\nprivacy: {epsilon: 2, delta: 1e-5}\n")
    code, _, err = main("experiment=words.yaml", *FEW[:3], "figures=false")
    assert code == 0, err
    (row,) = rows_of(folder)
    assert (row["model"], row["epsilon"]) == ("cnn", 2.0)
    assert row["clipping"].startswith("automatic")
    path.write_text("model: cnnn\n")
    assert "cnnn" in main("experiment=words.yaml")[2]


@pytest.mark.parametrize("mode", [[], ["-m"]])
@pytest.mark.parametrize("place", ["sub/folder/mine.yaml", "my own 2.yaml"])
def test_a_row_names_the_file_as_it_was_named_and_its_command_runs_again(folder, main, mode, place):
    path = folder / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text((folder / "patients.yaml").read_text())
    words = [f"experiment={place}", "privacy.epsilon=3", "privacy.clip_norm=0.3", "figures=false", *FEW]
    assert main(*mode, *words)[0] == 0
    row = next(row for row in rows_of(folder) if row["epsilon"] == 3)
    told = shlex.split(command(row["overrides"]))[5:]
    assert f"experiment={place}" in told
    assert set(words) <= set(told) | {"results_dir=results"}
    code, _, err = main(*told)  # quotes are the shell's
    assert code == 0, err


def test_splits_of_one_sweep_are_families_of_their_own_in_the_report(folder, main):
    words = ["experiment=patients.yaml", "privacy.epsilon=3", "privacy.clip_norm=0.3", "data.split=owner,rows", *FEW]
    code, _, err = main("-m", *words, "figures=false")
    assert code == 0, err
    found = pack(gather(folder / "patients", datetime.datetime.now(datetime.UTC)), "")
    titles = [family["title"] for family in found["families"]]
    assert len(set(titles)) == 2, titles
    assert any("rows 80/20" in title for title in titles)
