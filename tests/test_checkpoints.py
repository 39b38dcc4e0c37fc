"""What is kept is given back to the last bit or not at all; lanes go on where they were stopped, to the same bits."""

import shutil
import subprocess
import sys
import time
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from dpjax.checkpoints import CheckpointError, Checkpoints
from dpjax.kept_lanes import InStretches, compile_kept_lanes, run_kept_lanes
from dpjax.results.result_files import STATES_FOLDER
from dpjax.types import HParams
from experiments.error_words import explain, is_disk_full
from experiments.kept_jobs import forget_lanes
from tests.test_stretches import STEPS, bits, run_of

TREE = {
    "w": jnp.arange(2000, dtype=jnp.float32).reshape(40, 50) / 7,
    "half": jnp.linspace(0, 1, 33, dtype=jnp.bfloat16),
    "key": jax.random.key(3),
    "keys": jax.random.split(jax.random.key(1, impl="rbg"), 3),
    "step": jnp.int32(5),
    "mask": jnp.array([True, False]),
    "nothing": jnp.zeros((0, 4)),
    "scalars": (jnp.float32(np.nan), jnp.float32(-0.0), jnp.float32(np.inf)),
}
MINE = {"config": "a1", "jax": "0"}


def kept_in(folder, *steps, identity=MINE):
    kept = Checkpoints(folder, identity)
    for step in steps:
        kept.save(step, TREE | {"step": jnp.int32(step)})
    kept.close()
    return Checkpoints(folder, identity)


@pytest.mark.parametrize("like", [TREE, jax.eval_shape(lambda: TREE)], ids=["arrays", "shapes"])
def test_what_is_kept_comes_back_to_the_last_bit(tmp_path, like):
    step, found = kept_in(tmp_path / "run", 3, 8, 9).restore(like)
    assert step == 9
    assert bits(found) == bits({**TREE, "step": jnp.int32(9)})
    assert jax.random.key_impl(found["keys"]) == jax.random.key_impl(TREE["keys"])
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["8", "9"]


@pytest.mark.parametrize("name", ["model.hidden=[64,32]", "what*is?it"])
def test_a_folder_whose_name_is_a_pattern_gives_back_what_is_kept_in_it(tmp_path, name):
    kept = kept_in(tmp_path / name / "seed-0", 3, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step, found = kept.restore(TREE)
    assert step == 8
    assert bits(found) == bits({**TREE, "step": jnp.int32(8)})
    kept.close()
    assert sorted(path.name for path in (tmp_path / name / "seed-0").iterdir()) == ["3", "8"]


def test_where_nothing_was_kept_there_is_nothing_and_no_folder(tmp_path):
    kept = Checkpoints(tmp_path / "run", MINE)
    assert kept.restore(TREE) is None
    kept.close()
    assert not (tmp_path / "run").exists()


def largest(folder):
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


@pytest.mark.parametrize("damage", ["a bit", "half of it", "emptied"])
def test_a_damaged_state_is_said_and_the_one_before_it_is_used(tmp_path, damage):
    kept = kept_in(tmp_path / "run", 3, 8)
    file = largest(tmp_path / "run" / "8")
    content = bytearray(file.read_bytes())
    if damage == "a bit":
        content[len(content) // 2] ^= 1
    file.write_bytes(content if damage == "a bit" else content[: len(content) // 2] if damage == "half of it" else b"")
    with pytest.warns(UserWarning, match=r"checkpoint .*8 is damaged"):
        step, found = kept.restore(TREE)
    assert (step, int(found["step"])) == (3, 3)
    kept.save(8, TREE)  # the run comes by there again
    kept.close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Checkpoints(tmp_path / "run", MINE).restore(TREE)[0] == 8
    assert (tmp_path / "run/damaged-8").is_dir()


def test_a_state_of_another_run_or_shape_is_refused_in_a_sentence(tmp_path):
    kept_in(tmp_path / "run", 3)
    with pytest.raises(CheckpointError, match=r"is of another config \(a1, not b2\); take the folder run away"):
        Checkpoints(tmp_path / "run", {"config": "b2", "jax": "0"}).restore(TREE)
    with pytest.raises(CheckpointError, match="is of another model or optimizer"):
        Checkpoints(tmp_path / "run", MINE).restore(TREE | {"w": TREE["w"][:, :4]})


def test_one_flipped_bit_in_what_is_said_of_a_state_is_damage_and_no_other_run(tmp_path):
    kept = kept_in(tmp_path / "run", 3, 8)
    file = tmp_path / "run/8/identity/metadata"
    assert b'"config": "a1"' in file.read_bytes()
    file.write_bytes(file.read_bytes().replace(b'"config": "a1"', b'"config": "a0"'))
    with pytest.warns(UserWarning, match=r"what is said of it is not what was kept.*the one before it, of step 3, is"):
        assert kept.restore(TREE)[0] == 3


def test_a_state_under_another_number_is_none(tmp_path):
    kept = kept_in(tmp_path / "run", 3, 8)
    shutil.copytree(tmp_path / "run/3", tmp_path / "run/9")
    with pytest.warns(UserWarning, match="it was kept as 3"):
        assert kept.restore(TREE)[0] == 8


def test_the_states_of_another_program_are_put_aside_and_the_run_begins_anew(tmp_path):
    with ocp.CheckpointManager(tmp_path / "run") as other:
        other.save(4, args=ocp.args.StandardSave({"a": jnp.arange(3)}))
    kept = Checkpoints(tmp_path / "run", MINE)
    with pytest.warns(UserWarning, match=r"4 is damaged .*put aside; the run begins anew"):
        assert kept.restore(TREE) is None
    kept.save(4, TREE)
    kept.close()
    assert Checkpoints(tmp_path / "run", MINE).restore(TREE)[0] == 4


def test_a_state_that_is_damaged_again_is_put_aside_again(tmp_path):
    for times in (1, 2):
        kept = kept_in(tmp_path / "run", 8)
        largest(tmp_path / "run" / "8").write_bytes(b"")
        with pytest.warns(UserWarning, match="the run begins anew"):
            assert kept.restore(TREE) is None
        kept.close()
        assert len(list((tmp_path / "run").glob("damaged-8*"))) == times


def test_a_disk_that_is_full_is_said_whoever_says_it(tmp_path, monkeypatch):
    kept = kept_in(tmp_path / "run", 3)
    said = "RESOURCE_EXHAUSTED: Error writing local file \"d/5\": Failed to write 2065 bytes [os_error_code='28']"

    def full(*args, **kwargs):
        raise ValueError(said)  # of tensorstore; orbax raises it as it is

    with monkeypatch.context() as patch:
        patch.setattr(ocp.CheckpointManager, "save", full)
        with pytest.raises(CheckpointError, match=r"can't be written \(No space left on device\); make room") as caught:
            kept.save(4, TREE)
    kept.close()
    assert is_disk_full(caught.value)
    assert "memory" not in explain(caught.value)
    assert Checkpoints(tmp_path / "run", MINE).restore(TREE)[0] == 3


HOLDER = """
import sys, time
from pathlib import Path
import jax.numpy as jnp
from dpjax.checkpoints import Checkpoints
kept = Checkpoints(Path(sys.argv[1]), {"config": "a1", "jax": "0"})
kept.save(3, {"w": jnp.zeros(3)})
kept._open.wait_until_finished()
print("kept", flush=True)
time.sleep(600)
"""


def test_a_folder_is_one_processs_until_it_ends_however_it_ends(tmp_path):
    run = tmp_path / STATES_FOLDER / "seed-0"
    like, mine = {"w": jnp.zeros(3)}, Checkpoints(run, MINE)
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, run], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "kept\n"
    with pytest.warns(
        UserWarning, match=r"seed-0 is kept by another process, which runs the same job; this one goes on"
    ):
        assert mine.restore(like) is None
    mine.save(5, like)
    mine.clear()  # of a job that this one finished first
    forget_lanes(tmp_path)
    assert (tmp_path / STATES_FOLDER / "seed-0/3").is_dir()
    holder.kill()
    holder.wait()
    assert mine.restore(like)[0] == 3
    mine.save(5, like)
    mine.close()
    assert mine.restore(like)[0] == 5
    mine.close()
    forget_lanes(tmp_path)
    assert not (tmp_path / STATES_FOLDER).exists()


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(CheckpointError, match="can't be written"):
        Checkpoints(tmp_path / "run", MINE).save(1, TREE)


def test_what_was_kept_is_taken_away(tmp_path):
    kept = kept_in(tmp_path / "run", 3)
    kept.clear()
    assert not (tmp_path / "run").exists()


class Stopped(Exception):
    pass


class Watched(Checkpoints):
    """Stops its run once it was kept so often."""

    left = 10**9

    def save(self, step, tree):
        super().save(step, tree)
        self.left -= 1
        if self.left == 0:
            self.close()
            raise Stopped


@pytest.mark.parametrize("lanes", ["map", "vmap"])
@pytest.mark.parametrize("kind", ["independent", "adaptive", "correlated"])
def test_lanes_that_were_stopped_go_on_to_the_same_bits(tmp_path, kind, lanes):
    train = run_of(kind, 5)
    parts = InStretches(
        lambda _, h, key: train.begin(h, key),
        lambda _, progress, start, stop, h, key: train.advance(progress, start, stop, h, key),
        lambda _, progress, h, key: train.finish(progress, h, key),
        STEPS,
    )
    points = [HParams(learning_rate=0.3, clip_norm=0.7, noise_multiplier=z) for z in (1.3, 0.4, 2.0)]
    program = compile_kept_lanes(parts, (), num_lanes=3, lanes=lanes)
    nowhere = [None] * 3
    whole = {lane.index: lane.output for lane in run_kept_lanes(program, points, [1, 2, 3], nowhere, seconds=60)}

    def places(left):
        made = [Watched(Path(tmp_path, f"lane-{i}"), {"lane": str(i)}) for i in range(3)]
        made[1].left = left
        return made

    seen = {}
    for left in (2, 1, 10**9):  # stopped twice on its way
        try:
            for lane in run_kept_lanes(program, points, [1, 2, 3], places(left), seconds=1e-9):
                seen[lane.index] = lane.output
        except Stopped:
            assert left < 10**9
    assert {i: bits(output) for i, output in seen.items()} == {i: bits(output) for i, output in whole.items()}


def test_lanes_stop_at_once_when_one_ends_in_an_error_and_are_kept_where_they_are(tmp_path):
    done = []

    def advance(_, x, start, stop, h, key):
        def step(number, x):
            return x + jax.pure_callback(
                lambda n: (done.append(int(n)), time.sleep(0.01), np.float32(1))[2], one, number
            )

        return jax.lax.fori_loop(start, stop, step, x)

    one, steps = jax.ShapeDtypeStruct((), jnp.float32), 2000
    parts = InStretches(lambda *_: jnp.float32(0), advance, lambda _, x, h, key: x, steps)
    program = compile_kept_lanes(parts, (), num_lanes=2, lanes="map")
    places = [Watched(Path(tmp_path, f"lane-{i}"), {"lane": str(i)}) for i in range(2)]
    places[0].left = 1
    with pytest.raises(Stopped):
        list(run_kept_lanes(program, [HParams()] * 2, [0, 1], places, seconds=0.2, workers=2))
    assert len(done) < steps
    found = places[1].restore((jnp.float32(0), jnp.float32(0)))
    places[1].close()
    assert found[0] == found[1][0] == max(done) + 1 < steps
