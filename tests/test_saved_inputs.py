"""What a saved model of a table says of its inputs: enough to use it, and nothing that was read off the rows."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

RUN = ("data=own", "data.label=ill", "model=logistic", "num_seeds=1", "figures=false", "save_model=true")
RUN += ("privacy.accountant=rdp", "privacy.delta=1e-3", "optimizer.num_steps=2")


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(0)
    lines = [f"{rng.uniform(20, 80):.3f},{rng.normal():.4f},{'fm'[i % 2]},{'yn'[i % 3 == 0]}" for i in range(120)]
    (tmp_path / "patients.csv").write_text("age,score,sex,ill\n" + "\n".join(lines))
    return tmp_path / "patients.csv"


def test_inputs_are_named_in_the_order_of_the_parameters(main, table, tmp_path):
    columns = "data.columns={age:[0,100],score:[-4,4],sex:[f,m]}"
    assert main(*RUN, f"data.path={table}", columns, "data.classes=[n,y]", folder=tmp_path / "r")[0] == 0
    [model] = (tmp_path / "r").rglob("model")
    said = json.loads((model / "inputs.json").read_text(encoding="utf-8"))
    kernel = max(load_file(model / "trained.safetensors").values(), key=lambda each: each.size)
    assert len(said["inputs"]) == kernel.shape[0]
    assert [name.partition("=")[0].strip() for name in said["inputs"][:2]] == ["age", "score"]
    assert said["outputs"] == ["n", "y"]
    assert said["columns"] == {"age": [0, 100], "score": [-4, 4], "sex": ["f", "m"]}


def test_names_that_were_read_off_the_rows_are_not_written(main, table, tmp_path):
    assert main(*RUN, f"data.path={table}", folder=tmp_path / "r")[0] == 0
    [model] = (tmp_path / "r").rglob("model")
    assert sorted(each.name for each in model.iterdir()) == ["README.md", "privacy.json", "trained.safetensors"]
