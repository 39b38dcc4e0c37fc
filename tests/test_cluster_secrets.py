"""Secrets of a driver's environment lie on no disk for its tasks: neither in files nor in messages."""

import os
import pickle
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.config import Config, ConfigError, GovernanceConf
from experiments.launching import on_slurm, slurm_tasks
from experiments.launching.secrets_here import handed_on, kept_back, lacking, needed
from experiments.launching.shares import Share
from experiments.launching.site import NodeError, join, make_site
from experiments.launching.slurm_work import SlurmOptions
from experiments.progress import Progress
from experiments.task import Job

MARKER = "hushhush-4711"
SECRETS = {
    "DPJAX_KEYS": "env:MY_SEALING_KEY",
    "MY_SEALING_KEY": f"{MARKER}-key",
    "DPJAX_PKCS11_PIN": f"{MARKER}-pin",
    "DPJAX_WEBHOOK": f"https://example.org/{MARKER}",
    "DPJAX_TOKEN": f"{MARKER}-token",
    "DPJAX_LEDGER": f"postgresql://me:{MARKER}@db/ledger",
    "DPJAX_NEW_THING_OF_LATER": MARKER,
    "HF_TOKEN": MARKER,
    "JAX_PLATFORMS": "cpu",
    "DPJAX_DATA_DIR": "here",
}
SEALED = Config(governance=GovernanceConf(name="local", seal=True))


@pytest.fixture
def secretive(monkeypatch, tmp_path):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def sbatch(tmp_path, monkeypatch):
    """A cluster whose sbatch writes down the environment that it gets, as SLURM's controller does."""
    for name, lines in {
        "sbatch": 'env > "$SEEN/environment"; echo "Submitted batch job 4711"',
        "squeue": "true",
        "sinfo": "true",
        "srun": "true",
    }.items():
        command = tmp_path / "bin" / name
        command.parent.mkdir(exist_ok=True)
        command.write_text(f"#!/bin/sh\n{lines}\n")
        command.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("SEEN", str(tmp_path))
    return tmp_path


def written(folder):
    """Every byte below a folder, pickles in pickles as they are."""
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


@pytest.mark.parametrize("number", [1, 3])
def test_a_task_of_slurm_finds_no_secret_on_a_disk(secretive, sbatch, tmp_path, number):
    jobs = [Job(Config(seed=i), tmp_path / f"sweep/{i}", f"seed={i}") for i in range(number)]
    site = pickle.dumps(make_site(tmp_path / "sweep", [job.cfg for job in jobs]))
    journal = slurm_tasks.Journal(tmp_path / "sweep" / on_slurm.FOLDER)
    journal.submit([Share([job]) for job in jobs], site, SlurmOptions())
    assert list(journal.folder.glob("*submitted.pkl"))
    assert MARKER.encode() not in site
    assert MARKER.encode() not in written(tmp_path)
    assert "JAX_PLATFORMS=cpu" in (tmp_path / "environment").read_text()
    assert os.environ["MY_SEALING_KEY"] == SECRETS["MY_SEALING_KEY"]  # the driver has them still
    assert stat.S_IMODE(journal.folder.stat().st_mode) == 0o700
    modes = {stat.S_IMODE(path.stat().st_mode) for path in journal.folder.iterdir() if path.is_file()}
    assert modes == {0o600}


def test_a_sealed_sweep_that_could_not_get_its_key_is_refused_before_it_is_submitted(secretive, sbatch, tmp_path):
    jobs = [Job(SEALED, tmp_path / "sweep/0", "seed=0")]
    with pytest.raises(
        ConfigError, match=r"^hydra/launcher=slurm_batched .*MY_SEALING_KEY.*=file:PATH.*setup="
    ) as said:
        list(on_slurm.SlurmExecutor(SlurmOptions())(None, [jobs], Progress(1), tmp_path / "sweep"))  # pyright: ignore[reportArgumentType]
    assert MARKER not in str(said.value)
    assert not (tmp_path / "environment").exists()


def test_a_node_without_the_secret_computes_nothing_and_one_with_it_goes_on(secretive, tmp_path, monkeypatch):
    site = make_site(tmp_path / "sweep", [SEALED])
    assert site.needs == ("DPJAX_LEDGER", "DPJAX_TOKEN", "MY_SEALING_KEY")
    assert join(site) == []
    monkeypatch.delenv("MY_SEALING_KEY")
    with pytest.raises(NodeError, match=r"^node \S+ lacks MY_SEALING_KEY, a secret that no launcher sends"):
        join(site)
    monkeypatch.setenv("DPJAX_KEYS", "file:keys")
    monkeypatch.setenv("DPJAX_LEDGER", "sqlite:///ledger.db")
    monkeypatch.delenv("DPJAX_TOKEN")
    assert make_site(tmp_path / "sweep", [SEALED]).needs == ()


def test_what_needs_no_secret_asks_for_none():
    assert needed([Config()], SECRETS) == ()
    assert needed([Config(governance=GovernanceConf(name="local"))], SECRETS) == ("DPJAX_LEDGER", "DPJAX_TOKEN")
    assert needed([SEALED], {"DPJAX_KEYS": "pkcs11:t/l?module=m", "DPJAX_PKCS11_PIN": "1"}) == ("DPJAX_PKCS11_PIN",)
    assert needed([SEALED], {"DPJAX_KEYS": "file:k", "DPJAX_PKCS11_PIN": "1"}) == ()
    assert lacking(["A", "B"], {"A": "x", "B": ""}) == ["B"]


@given(
    st.dictionaries(st.from_regex(r"(DPJAX|HF|JAX|XLA)_[A-Z]{1,12}", fullmatch=True), st.text(max_size=8), max_size=4)
)
def test_what_dpjax_does_not_know_to_be_harmless_stays(extra):
    sent = handed_on(SECRETS | extra)
    unknown = {name for name in extra if name.startswith("DPJAX_")} - {"DPJAX_KEYS", "DPJAX_LEDGER", "DPJAX_DATA_DIR"}
    assert not unknown & sent.keys() - set(SECRETS)
    assert not any(MARKER in value for value in sent.values())


def test_a_key_in_the_place_of_its_name_is_a_secret():
    from dpjax.encryption.keys import new_key

    for given_as in (key := new_key(), f"env:{key}", f"file:{key}", "nothing known"):
        assert handed_on({"DPJAX_KEYS": given_as}) == {}
    assert handed_on({"DPJAX_KEYS": "file:/keys"}) == {"DPJAX_KEYS": "file:/keys"}


def test_an_interrupt_while_sbatch_runs_gives_the_secrets_back(secretive):
    def submit():
        with kept_back():
            assert not {"MY_SEALING_KEY", "DPJAX_PKCS11_PIN", "DPJAX_TOKEN", "HF_TOKEN"} & os.environ.keys()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        submit()
    assert {name: os.environ[name] for name in SECRETS} == SECRETS
