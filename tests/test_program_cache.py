"""Programs that were compiled are loaded, for the same run on other numbers, and never when they are not the same."""

import os
import warnings
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax._src import compilation_cache

from dpjax import datasets, keeping, program_cache
from dpjax.program_cache import ProgramStore, keep_programs
from dpjax.results.table import load

RUN = ("optimizer.num_steps=3", "num_seeds=1", "data.num_train=200", "privacy.accountant=rdp")
SAME = ["test_accuracy", "test_loss", "train_accuracy", "epsilon_pld", "noise_multiplier"]


@pytest.fixture
def kept(monkeypatch, tmp_path):
    """A cache of this test's own, as a program has that starts now; gives its folder."""
    monkeypatch.setenv("DPJAX_CACHE_DIR", str(tmp_path / "cache"))
    fields = ("compilation_cache_dir", "persistent_cache_min_compile_time_secs", "persistent_cache_enable_xla_caches")
    before = {f"jax_{field}": getattr(jax.config, f"jax_{field}") for field in fields}
    monkeypatch.setattr(compilation_cache, "get_file_cache", compilation_cache.get_file_cache)
    jax.config.update("jax_compilation_cache_dir", None)
    jax.clear_caches()
    yield tmp_path / "cache" / "programs"
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    jax.clear_caches()


@pytest.fixture
def compiled(kept):
    """Calls a function as in a process that starts now: how many programs it compiled, and how many it loaded."""
    counts = {"requests": 0, "hits": 0}

    def on_duration(event, seconds, **facts):
        counts["requests"] += event == "/jax/core/compile/backend_compile_duration"

    def on_event(event, **facts):
        counts["hits"] += event == "/jax/compilation_cache/cache_hits"

    def call(function, *arguments):
        jax.clear_caches()
        compilation_cache.reset_cache()
        jax.config.update("jax_compilation_cache_dir", None)
        counts.update(requests=0, hits=0)
        jax.monitoring.register_event_duration_secs_listener(on_duration)
        jax.monitoring.register_event_listener(on_event)
        try:
            result = function(*arguments)
        finally:
            jax.monitoring.unregister_event_duration_listener(on_duration)
            jax.monitoring.unregister_event_listener(on_event)
        return result, counts["requests"] - counts["hits"], counts["hits"]

    return call


def rows(folder):
    return load(folder).sort_values(["epsilon", "seed"])[SAME].reset_index(drop=True)


def test_a_run_on_other_numbers_compiles_nothing_the_second_time(compiled, main, tmp_path):
    def run(name, *overrides):
        status, _, err = main(*RUN, *overrides, folder=tmp_path / name)
        assert status == 0, err

    _, first, _ = compiled(run, "a", "privacy.epsilon=1")
    assert first > 3
    for number, others in enumerate(("privacy.epsilon=1", "privacy.epsilon=2 seed=7", "privacy.clip_norm=0.3")):
        _, again, loaded = compiled(run, f"b{number}", *others.split())
        assert (again, loaded > 3) == (0, True), others
    _, shape, _ = compiled(run, "c", "model.hidden=[9]")
    assert shape > 0
    assert rows(tmp_path / "a").equals(rows(tmp_path / "b0"))


def test_loaded_programs_give_the_numbers_of_compiled_ones_to_the_bit(compiled, monkeypatch):
    def run():
        keep_programs()
        x = jax.random.normal(jax.random.key(0), (50, 30))
        return np.asarray(jax.jit(lambda x: jnp.tanh(x @ x.T).sum(0) / 3)(x))

    once, fresh, _ = compiled(run)
    twice, again, loaded = compiled(run)
    monkeypatch.setenv(program_cache.SETTING, "0")
    without, _, _ = compiled(run)
    assert fresh > 0
    assert again == 0
    assert loaded == fresh
    np.testing.assert_array_equal(once, twice)
    np.testing.assert_array_equal(once, without)


def square():
    keep_programs()
    return float(jax.jit(lambda x: jnp.sum(x * x))(jnp.arange(5.0)))


def test_other_versions_flags_cores_or_processors_are_never_trusted(compiled, monkeypatch):
    _, first, _ = compiled(square)
    _, again, _ = compiled(square)
    assert first > 0
    assert again == 0
    for name, change in {
        "flags": lambda patch: patch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false"),
        "processor": lambda patch: patch.setattr(program_cache, "_processor", lambda: "another"),
        "jax": lambda patch: patch.setattr(jax, "__version__", "0.0.1"),
        "threads": lambda patch: patch.setenv("NPROC", "1"),
        "cores": lambda patch: patch.setattr("os.sched_getaffinity", lambda process: {1, 2, 3, 4, 5}, raising=False),
    }.items():
        with monkeypatch.context() as patch:
            change(patch)
            _, anew, loaded = compiled(square)
        assert (anew, loaded) == (first, 0), name
    _, again, _ = compiled(square)
    assert again == 0


def test_damaged_programs_cost_one_warning_and_are_replaced(compiled, kept):
    compiled(square)
    files = sorted(kept.glob("*.program"))
    assert len(files) > 1
    for number, path in enumerate(files):
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2] if number % 2 else whole[:-9] + b"x" + whole[-8:])
    with pytest.warns(UserWarning, match="damaged, and was removed.*going on without it") as warned:
        result, anew, _ = compiled(square)
    assert (result, anew) == (30.0, len(files))
    assert len([w for w in warned if "program cache" in str(w.message)]) == 1
    with warnings.catch_warnings(action="error"):
        assert compiled(square)[1] == 0


@pytest.mark.parametrize("what", ["file", "readable only", "writable by others", "of another user"])
def test_a_folder_that_cannot_be_used_costs_one_warning(compiled, kept, monkeypatch, what):
    kept.parent.mkdir()
    if what == "file":
        kept.write_text("")
    elif what == "readable only":

        def refuse(*arguments, **options):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "mkdir", refuse)  # root may write anywhere
    else:
        kept.mkdir(mode=0o700)
        if what == "writable by others":
            kept.chmod(0o777)
        else:
            monkeypatch.setattr("os.getuid", lambda: 12345)
    with pytest.warns(
        UserWarning, match="program cache .* could not be used .*; going on without it: set DPJAX_CACHE_DIR"
    ) as warned:
        result, anew, _ = compiled(square)
    assert result == 30.0
    assert anew > 0
    assert len(warned) == 1
    assert not kept.is_dir() or not list(kept.iterdir())


def test_a_full_disk_costs_one_warning_and_leaves_nothing_behind(compiled, kept, monkeypatch):
    def fill(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fill)
    with pytest.warns(
        UserWarning, match="could not be written .No space left on device.; .*: free some space"
    ) as warned:
        result, anew, _ = compiled(square)
    assert result == 30.0
    assert anew > 1
    assert len(warned) == 1
    assert not list(kept.iterdir())


def test_who_wants_none_or_has_jaxs_own_keeps_that(compiled, kept, monkeypatch, tmp_path):
    monkeypatch.setenv(program_cache.SETTING, "0")
    assert compiled(keep_programs)[0] is None
    assert not kept.exists()
    monkeypatch.delenv(program_cache.SETTING)
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "jaxs"))
    assert keep_programs() is None
    assert not kept.exists()
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "jaxs")


def test_called_twice_it_keeps_what_it_keeps(compiled, kept):
    assert compiled(lambda: (keep_programs(), keep_programs()))[0] == (kept, kept)


@pytest.mark.parametrize("text", ["a lot", "-1", "1.5", "1e3", "9" * 5000])
def test_a_bound_that_is_no_size_is_refused_before_anything_runs(monkeypatch, text, main):
    monkeypatch.setenv(program_cache.SETTING, text)
    with pytest.raises(ValueError, match=rf"DPJAX_PROGRAM_CACHE_MIB='{text[:9]}.* is no size; give whole MiB"):
        keep_programs()
    status, out, err = main()
    assert status == 1
    assert err.startswith("error: DPJAX_PROGRAM_CACHE_MIB=")
    assert len(err.splitlines()) == 1
    assert out == ""


def test_no_program_of_the_runner_holds_data(compiled, kept, main, tmp_path):
    """Rows of the training set are arguments: who reads the cache sees none of them."""
    status, _, err = compiled(main, *RUN, f"results_dir={tmp_path}")[0]
    assert status == 0, err
    data = datasets.load("digits")
    rows = [np.asarray(data.train_inputs[i], np.float32).tobytes()[64:192] for i in range(5)]

    def held():
        programs = [zlib.decompress(path.read_bytes()[32:]) for path in kept.glob("*.program")]
        return sum(row in program for program in programs for row in rows)

    assert list(kept.glob("*.program"))
    assert held() == 0
    constant = jnp.asarray(data.train_inputs[:5], jnp.float32)
    compiled(lambda: (keep_programs(), jax.jit(lambda x: x + constant)(1.0)))
    assert held() > 0  # the search would find one


@settings(max_examples=50)
@given(st.binary(max_size=200), st.data())
def test_what_is_given_back_is_what_was_put_or_nothing(tmp_path_factory, program, data):
    folder = tmp_path_factory.mktemp("store")
    store = ProgramStore(folder, 10_000, "f")
    store.put("key", program)
    assert store.get("key") == program
    (path,) = folder.iterdir()
    whole = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        whole[place] ^= data.draw(st.integers(1, 255))
    else:
        del whole[place:]
    path.write_bytes(bytes(whole))
    with pytest.warns(UserWarning, match="damaged"):
        assert store.get("key") is None
    assert not path.exists()


def test_a_file_under_another_key_is_not_believed(tmp_path):
    store = ProgramStore(tmp_path, 10_000, "f")
    store.put("a", b"one")
    (path,) = tmp_path.iterdir()
    store.put("b", b"two")
    other = next(p for p in tmp_path.iterdir() if p != path)
    other.write_bytes(path.read_bytes())
    with pytest.warns(UserWarning, match="damaged"):
        assert store.get("b") is None
    assert store.get("a") == b"one"


def test_the_folder_stays_below_its_bound_and_loses_what_was_used_longest_ago(tmp_path):
    store = ProgramStore(tmp_path, 4 * 132, "f")
    for number, name in enumerate("abcd"):
        store.put(name, b"x" * 100)
        newest = max(tmp_path.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        os.utime(newest, (number, number))
    assert store.get("a") == b"x" * 100  # the oldest, and used just now
    store.put("e", b"x" * 100)
    assert [store.get(name) is not None for name in "abcde"] == [True, False, True, True, True]
    store.put("too large", b"x" * 1000)
    assert store.get("too large") is None
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 4 * 132


def test_what_is_not_the_caches_own_stays(tmp_path):
    """Whatever lies in the folder: it may have been anybody's before."""
    others = {name: tmp_path / name for name in ("mine.program", "notes.txt", ".hidden", f"{'0' * 31}.program")}
    for path in others.values():
        path.write_bytes(b"x" * 1000)
        os.utime(path, (1, 1))
    (tmp_path / f"{'a' * 32}.program").mkdir()
    (tmp_path / f"{'b' * 32}.program").symlink_to(others["notes.txt"])
    store = ProgramStore(tmp_path, 300, "f")
    with warnings.catch_warnings(action="error"):
        for name in "abcd":
            store.put(name, b"x" * 100)
    assert [store.get(name) is not None for name in "abcd"] == [False, False, True, True]
    assert all(path.read_bytes() == b"x" * 1000 for path in others.values())
    assert len(list(tmp_path.iterdir())) == len(others) + 4


def test_what_a_killed_writer_left_is_counted_and_goes_first(tmp_path, monkeypatch):
    store = ProgramStore(tmp_path, 400, "f")
    store.put("a", b"x" * 100)
    left, writing = (
        tmp_path / f".{'c' * 32}.program.1.{keeping.MACHINE}.{process}.tmp" for process in (12345678, os.getpid())
    )
    for path in (left, writing):
        path.write_bytes(b"x" * 130)
    store.put("b", b"x" * 100)
    assert not left.exists()
    assert writing.exists()
    assert [store.get(name) is not None for name in "ab"] == [True, True]
    store.put("c", b"x" * 100)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 400
    assert writing.exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_pipe_in_the_place_of_a_program_is_not_waited_for(tmp_path):
    store = ProgramStore(tmp_path, 1000, "f")
    store.put("a", b"x")
    (path,) = tmp_path.iterdir()
    path.unlink()
    os.mkfifo(path)
    with pytest.warns(UserWarning, match="could not be read .it is no file"):
        assert store.get("a") is None
