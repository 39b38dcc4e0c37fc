"""One process at a time for the folder of a job: who comes second is told, and who was killed leaves no lock."""

import signal
import subprocess
import sys

import pytest

from dpjax.keeping import this_process
from experiments.alone import alone, refuse_others
from experiments.config import ConfigError

CODE = """
import sys, time
from pathlib import Path
from experiments.alone import alone
with alone([Path(sys.argv[1])]):
    print("at it", flush=True)
    time.sleep(60)
"""


def test_who_comes_second_is_told_until_the_first_has_ended_or_is_killed(tmp_path):
    job, free = tmp_path / "job", tmp_path / "free"
    other = subprocess.Popen([sys.executable, "-c", CODE, str(job)], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "at it\n"
        told = rf"the folder {job} is being worked on by process \w+\.{other.pid}; wait for it"
        with pytest.raises(ConfigError, match=told), alone([free, job]):
            pass
        with pytest.raises(ConfigError, match=told):
            refuse_others([free, job])
        assert list(free.iterdir()) == []  # what it had is free again
    finally:
        other.send_signal(signal.SIGKILL)
        other.wait()
    assert (job / ".run.lock").is_file()
    refuse_others([job])
    with alone([job]), pytest.raises(ConfigError), alone([job]):
        pass
    assert list(job.iterdir()) == []


def test_a_lock_that_was_left_under_a_number_that_another_process_has_now_is_none(tmp_path):
    (tmp_path / ".run.lock").write_text(this_process())
    refuse_others([tmp_path])
    with alone([tmp_path]), pytest.raises(ConfigError):
        refuse_others([tmp_path])
