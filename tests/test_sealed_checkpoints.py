"""States that are kept sealed: what test_checkpoints asks of plain ones, and that who holds no key reads nothing."""

import ctypes
import itertools
import os
import shutil
import subprocess
import sys
import threading
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dpjax import sealed_checkpoints
from dpjax.checkpoints import CheckpointError, Checkpoints
from dpjax.encryption.errors import EncryptionError
from dpjax.encryption.header import HEADER_BYTES
from dpjax.encryption.keys import new_key
from dpjax.encryption.reader import is_sealed
from dpjax.encryption.rotation import rewrap
from dpjax.encryption.writer import SealedWriter
from dpjax.kept_lanes import InStretches, compile_kept_lanes, run_kept_lanes
from dpjax.results.result_files import STATES_FOLDER
from dpjax.sealed_checkpoints import SealedCheckpoints
from dpjax.types import HParams
from experiments.kept_jobs import forget_lanes
from tests.sealing import ring
from tests.test_checkpoints import MINE, TREE
from tests.test_stretches import bits

KEY = new_key()
KEYS = ring(KEY)


def at(step):
    return TREE | {"step": jnp.int32(step)}


def kept_in(folder, *steps, identity=MINE, keys=KEYS):
    kept = SealedCheckpoints(folder, identity, keys)
    for step in steps:
        kept.save(step, at(step))
    kept.close()
    return SealedCheckpoints(folder, identity, keys)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("like", [TREE, jax.eval_shape(lambda: TREE)], ids=["arrays", "shapes"])
def test_what_is_kept_comes_back_to_the_last_bit_and_is_sealed(tmp_path, like):
    kept = kept_in(tmp_path / "run=[1]", 3, 8, 9)
    step, found = kept.restore(like)
    kept.close()
    assert step == 9
    assert bits(found) == bits(at(9))
    assert jax.random.key_impl(found["keys"]) == jax.random.key_impl(TREE["keys"])
    assert names(tmp_path / "run=[1]") == ["8.sealed", "9.sealed"]
    raw = (tmp_path / "run=[1]/9.sealed").read_bytes()
    assert is_sealed(tmp_path / "run=[1]/9.sealed")
    key = np.asarray(jax.random.key_data(TREE["key"])).tobytes()
    for secret in (np.asarray(TREE["w"]).tobytes()[:16], key, b'"config"'):
        assert secret not in raw


def test_where_nothing_was_kept_there_is_nothing_and_no_folder(tmp_path):
    kept = SealedCheckpoints(tmp_path / "run", MINE, KEYS)
    assert kept.restore(TREE) is None
    kept.close()
    assert not (tmp_path / "run").exists()


def test_what_is_saved_is_copied_before_save_returns(tmp_path, monkeypatch):
    write, go = SealedCheckpoints._write, threading.Event()
    monkeypatch.setattr(SealedCheckpoints, "_write", lambda *args: (go.wait(30), write(*args)))
    kept = SealedCheckpoints(tmp_path / "run", MINE, KEYS)
    tree = {"w": jnp.zeros(1000)}
    shared = np.asarray(tree["w"])  # the memory of the array itself, on a CPU
    kept.save(3, tree)
    ctypes.memset(shared.ctypes.data, 1, shared.nbytes)  # as a step does that is given the array to reuse
    go.set()
    kept.close()
    assert not SealedCheckpoints(tmp_path / "run", MINE, KEYS).restore(tree)[1]["w"].any()


def damaged(path, how):
    content = bytearray(path.read_bytes())
    if how == "cut":
        del content[len(content) // 2 :]
    elif how == "emptied":
        content.clear()
    else:
        content[how] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("how", [0, 19, 23, 40, 60, 600, HEADER_BYTES, HEADER_BYTES + 99, -1, "cut", "emptied"])
def test_a_damaged_state_is_said_and_the_one_before_it_is_used(tmp_path, how):
    kept = kept_in(tmp_path / "run", 3, 8)
    damaged(tmp_path / "run/8.sealed", how)
    with pytest.warns(UserWarning, match=r"8\.sealed is damaged .*put aside; the one before it, of step 3, is used"):
        step, found = kept.restore(TREE)
    assert (step, int(found["step"])) == (3, 3)
    kept.save(8, at(8))  # the run comes by there again
    kept.close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert SealedCheckpoints(tmp_path / "run", MINE, KEYS).restore(TREE)[0] == 8
    assert names(tmp_path / "run") == ["3.sealed", "8.sealed", "damaged-8"]


def test_a_state_that_is_damaged_again_is_put_aside_again_and_the_run_begins_anew(tmp_path):
    for times in (1, 2):
        kept = kept_in(tmp_path / "run", 8)
        damaged(tmp_path / "run/8.sealed", "emptied")
        with pytest.warns(UserWarning, match="the run begins anew"):
            assert kept.restore(TREE) is None
        kept.close()
        assert len(list((tmp_path / "run").glob("damaged-8*"))) == times


def test_a_state_of_another_run_shape_step_or_purpose_is_none(tmp_path):
    kept_in(tmp_path / "run", 3)
    with pytest.raises(
        CheckpointError, match=r"3\.sealed is of another config \(a1, not b2\); take the folder run away"
    ):
        SealedCheckpoints(tmp_path / "run", {"config": "b2", "jax": "0"}, KEYS).restore(TREE)
    with pytest.raises(CheckpointError, match="is of another model or optimizer"):
        SealedCheckpoints(tmp_path / "run", MINE, KEYS).restore(TREE | {"w": TREE["w"][:, :4]})
    shutil.copy(tmp_path / "run/3.sealed", tmp_path / "run/9.sealed")
    kept = SealedCheckpoints(tmp_path / "run", MINE, KEYS)
    with pytest.warns(UserWarning, match="it was kept as 3"):
        assert kept.restore(TREE)[0] == 3
    kept.close()
    with SealedWriter(tmp_path / "run/9.sealed", KEYS, purpose="checkpoint") as stream:
        stream.write(b"no state")
    with pytest.warns(UserWarning, match="it is no state of this kind"):
        assert kept.restore(TREE)[0] == 3


def test_a_key_that_is_not_there_puts_nothing_aside(tmp_path):
    kept_in(tmp_path / "run", 3, 8)
    with pytest.raises(CheckpointError, match=r"can't be opened: .*8\.sealed was sealed with key .*, which the test"):
        SealedCheckpoints(tmp_path / "run", MINE, ring()).restore(TREE)
    assert names(tmp_path / "run") == ["3.sealed", "8.sealed"]
    other = new_key()
    for path in (tmp_path / "run").iterdir():
        rewrap(path, ring(other, KEY))
    kept = SealedCheckpoints(tmp_path / "run", MINE, ring(other))
    assert kept.restore(TREE)[0] == 8
    kept.close()


class Gone:
    """Keys that are out of reach."""

    source, ids = "a token", (bytes(16),)

    def wrap(self, data_key, context):
        raise EncryptionError("a token is not there; plug it in.")

    def unwrap(self, key_id, wrapped, context):
        raise EncryptionError("a token is not there; plug it in.")


def test_keys_that_are_out_of_reach_are_said_and_lose_nothing(tmp_path):
    kept_in(tmp_path / "run", 3)
    kept = SealedCheckpoints(tmp_path / "run", MINE, Gone())
    with pytest.raises(CheckpointError, match=r"can't be opened: a token is not there; plug it in\."):
        kept.restore(TREE)
    kept.save(4, at(4))
    with pytest.raises(CheckpointError, match=r"run can't be sealed: a token is not there; plug it in\."):
        kept.save(5, at(5))
    kept.close()
    assert names(tmp_path / "run") == ["3.sealed"]


def test_sealed_and_plain_states_are_not_taken_for_each_other(tmp_path):
    kept_in(tmp_path / "run", 3)
    with pytest.raises(
        CheckpointError,
        match=r"is sealed; run with governance\.seal=true and its keys in DPJAX_KEYS .*, or take the folder run",
    ):
        Checkpoints(tmp_path / "run", MINE).restore(TREE)
    plain = Checkpoints(tmp_path / "other", MINE)
    plain.save(4, {"w": jnp.zeros(2)})
    plain.close()
    with pytest.raises(
        CheckpointError, match=r"4 is not sealed; run with governance\.seal=false .*, or take the folder other away"
    ):
        SealedCheckpoints(tmp_path / "other", MINE, KEYS).restore({"w": jnp.zeros(2)})
    assert (tmp_path / "other/4").is_dir()


def test_a_disk_that_is_full_is_said_by_the_next_state_and_keeps_those_before(tmp_path, monkeypatch):
    kept = kept_in(tmp_path / "run", 3)
    with monkeypatch.context() as patch:
        patch.setattr(
            SealedWriter, "_emit", lambda *args, **kwargs: (_ for _ in ()).throw(OSError(28, os.strerror(28)))
        )
        kept.save(4, at(4))
        with pytest.raises(CheckpointError, match=r"can't be written \(No space left on device\); make room"):
            kept.save(5, at(5))
    kept.close()
    assert names(tmp_path / "run") == ["3.sealed"]
    (tmp_path / "file").write_text("a file")
    with pytest.raises(CheckpointError, match="can't be written"):
        SealedCheckpoints(tmp_path / "file", MINE, KEYS).save(1, TREE)


WRITER = """
import sys
from pathlib import Path
import jax.numpy as jnp
from dpjax.encryption.keys import ring_of
from dpjax.sealed_checkpoints import SealedCheckpoints
kept = SealedCheckpoints(Path(sys.argv[1]), {"config": "a1", "jax": "0"}, ring_of(sys.argv[2], "the test"))
for step in range(1, 10**6):
    kept.save(step, {"w": jnp.full(500_000, step)})
    if step == 3:
        print("kept", flush=True)
"""


def test_a_process_that_is_killed_while_it_writes_leaves_a_whole_state_and_the_folder_is_its_own_until_then(tmp_path):
    run, like = tmp_path / STATES_FOLDER / "seed-0", {"w": jnp.zeros(500_000, int)}
    mine = SealedCheckpoints(run, MINE, KEYS)
    for times in range(3):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, run, KEY], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        assert writer.stdout.readline() == "kept\n"
        if times == 0:
            with pytest.warns(UserWarning, match="seed-0 is kept by another process, which runs the same job"):
                assert mine.restore(like) is None
            mine.save(5, like)
            mine.clear()
        writer.kill()
        writer.wait()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            step, found = mine.restore(like)
        mine.close()
        assert (found["w"] == step).all()
        assert not list(run.glob(".*.tmp"))
    forget_lanes(tmp_path)
    assert not (tmp_path / STATES_FOLDER).exists()


def test_lanes_that_are_kept_sealed_go_on_to_the_same_bits(tmp_path):
    def advance(_, x, start, stop, h, key):
        return jax.lax.fori_loop(start, stop, lambda i, x: x + jax.random.normal(jax.random.fold_in(key, i), (3,)), x)

    parts = InStretches(lambda *_: jnp.zeros(3), advance, lambda _, x, h, key: x, 9)
    program = compile_kept_lanes(parts, (), num_lanes=1, lanes="map")
    (whole,) = run_kept_lanes(program, [HParams()], [1], [None], seconds=60)
    count = itertools.count()

    class Stopping(SealedCheckpoints):
        def save(self, step, tree):
            super().save(step, tree)
            if next(count) == 1:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(run_kept_lanes(program, [HParams()], [1], [Stopping(tmp_path / "l", MINE, KEYS)], seconds=1e-9))
    told = []
    places = [SealedCheckpoints(tmp_path / "l", MINE, KEYS)]
    (again,) = run_kept_lanes(program, [HParams()], [1], places, seconds=1e-9, tell=told.extend)
    assert told == [2]
    assert bits(again.output) == bits(whole.output)
    assert sealed_checkpoints._KEPT == len(names(tmp_path / "l")) == 2
