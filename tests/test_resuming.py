"""The same command after a kill: what was done is not done again, and the result is that of the run nobody stopped."""

import json
import re
import shutil

import pytest

from dpjax.checkpoints import Checkpoints
from dpjax.report.status import status
from dpjax.results.result_files import STATES_FOLDER

RUNS = {
    "central": ["clipping=adaptive", "privacy.epsilon=8", "optimizer.num_steps=12", "num_seeds=2"],
    "correlated": ["privacy=dp_ftrl", "optimizer.sampling=cyclic", "optimizer.num_steps=9", "num_seeds=1"],
    "federated": ["federated=scaffold", "federated.clients_per_round=10", "optimizer.num_steps=9", "num_seeds=1"],
}
SHARED = ["model=logistic", "privacy.accountant=rdp", "figures=false", "save_model=true", "checkpoint_seconds=1e-9"]
TIMES = ("wall_seconds", "epoch_seconds", "compile_seconds", "peak_memory_mib", "timestamp")


class Killed(BaseException):
    pass


@pytest.fixture
def killed_at(monkeypatch):
    """Ends the process, as it were, once so many states were kept; and counts them."""
    counted = {"left": 10**9, "kept": 0}
    save = Checkpoints.save

    def saving(self, step, tree):
        save(self, step, tree)
        self.close()
        counted["kept"] += 1
        counted["left"] -= 1
        if counted["left"] <= 0:
            raise Killed

    monkeypatch.setattr(Checkpoints, "save", saving)
    return counted


def ended(folder):
    (model,) = folder.rglob("*.safetensors")
    (result,) = folder.rglob("result.json")
    rows = json.loads(result.read_text())["rows"]
    return model.read_bytes(), [
        {k: v for k, v in row.items() if k not in (*TIMES, "overrides", "config")} for row in rows
    ]


@pytest.mark.parametrize("kind", RUNS)
def test_a_run_that_was_killed_ends_as_if_nobody_had(kind, main, killed_at, tmp_path):
    words = [*RUNS[kind], *SHARED]
    code, _, err = main(*words, folder=tmp_path / "whole")
    assert code == 0, err
    kept = killed_at["kept"]
    for left in (2, 1):
        killed_at["left"] = left
        with pytest.raises(Killed):
            main(*words, folder=tmp_path / "killed")
    assert list((tmp_path / "killed").rglob(STATES_FOLDER))
    found = status(tmp_path)  # beside a run that is done
    assert found.state == "stopped"
    assert "1 run was stopped and is kept on the way" in found.notes[-1]
    killed_at.update(left=10**9, kept=0)
    code, _, err = main(*words, folder=tmp_path / "killed")
    assert code == 0, err
    assert killed_at["kept"] < kept
    assert re.search(r"note: (1 run goes|\d of \d runs go) on from what was kept, at steps? ", err.replace("\n", " "))
    assert ended(tmp_path / "killed") == ended(tmp_path / "whole")
    assert not list(tmp_path.rglob(STATES_FOLDER))
    assert status(tmp_path).state == "complete"


def test_what_was_kept_of_another_config_is_refused_in_a_sentence(main, killed_at, tmp_path):
    words = [*RUNS["federated"], *SHARED]
    killed_at["left"] = 2
    with pytest.raises(Killed):
        main(*words, f"hydra.run.dir={tmp_path}/here")
    killed_at["left"] = 10**9
    code, _, err = main(*words, "optimizer.learning_rate=0.3", f"hydra.run.dir={tmp_path}/here")
    assert code == 1
    assert "is of another config" in err
    assert "take the folder seed-0 away to begin anew" in err.replace("\n", " ")


def test_a_job_whose_states_are_anothers_fails_alone(main, killed_at, tmp_path):
    words = ["-m", *SHARED, "optimizer.num_steps=4", "num_seeds=1", "privacy.epsilon=2,4", "lanes=map"]
    words += ["hydra.sweeper.reference=false"]
    assert main(*words, folder=tmp_path / "whole")[0] == 0
    killed_at["left"] = 3
    with pytest.raises(Killed):
        main(*words, folder=tmp_path / "here")
    killed_at["left"] = 10**9
    mine, others = (next((tmp_path / "here").rglob(f"*epsilon={e}*/")) / STATES_FOLDER for e in (2, 4))
    shutil.rmtree(mine, ignore_errors=True)
    shutil.copytree(others, mine)
    code, _, err = main(*words, folder=tmp_path / "here")
    assert code == 1
    assert "error: 1 of 2 jobs failed; 1 is finished and on disk." in err
    assert "is of another config" in err
    shutil.rmtree(mine)
    assert main(*words, folder=tmp_path / "here")[0] == 0
    rows = [
        [
            json.loads(path.read_text())["rows"][0]["test_loss"]
            for path in sorted((tmp_path / name).rglob("result.json"))
        ]
        for name in ("here", "whole")
    ]
    assert rows[0] == rows[1]
