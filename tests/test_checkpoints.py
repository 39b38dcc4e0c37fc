"""What is kept is given back to the last bit or not at all; lanes go on where they were stopped, to the same bits."""

import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dpjax.checkpoints import CheckpointError, Checkpoints
from dpjax.kept_lanes import InStretches, compile_kept_lanes, run_kept_lanes
from dpjax.types import HParams
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
    with pytest.raises(CheckpointError, match=r"is of another config \(a1, not b2\); take the folder away"):
        Checkpoints(tmp_path / "run", {"config": "b2", "jax": "0"}).restore(TREE)
    with pytest.raises(CheckpointError, match="is of another model or optimizer"):
        Checkpoints(tmp_path / "run", MINE).restore(TREE | {"w": TREE["w"][:, :4]})


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
