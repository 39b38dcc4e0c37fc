"""The main job: one private training run, or with ``-m`` a sweep that ends in a table and figures.

uv run python -m experiments.run -m experiment=quickstart
"""

import difflib
import errno
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dpjax.results import ResultsError, read_job_result
from experiments import config
from experiments.progress import Progress, one_sentence
from experiments.task import Job, Outcome, Rows, Tell

CONF = Path(__file__).parent / "conf"


def task(cfg: DictConfig) -> Rows:
    """One job by itself: what a launcher other than the batched one calls."""
    single = HydraConfig.get().mode == RunMode.RUN
    config.validate(cfg)
    plain = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
    assert isinstance(plain, DictConfig)
    job = Job(plain, Path(HydraConfig.get().runtime.output_dir), " ".join(HydraConfig.get().overrides.task))
    rows = finished(plain, job.folder)
    if rows is None:
        with Progress(1) as progress:
            outcome = next(iter(run([job], progress.tell if single else lambda stage, done, total: None)))
        if outcome.error is not None:
            raise outcome.error
        rows = outcome.rows
    elif single:
        print("This job was finished before; delete its folder to run it again.", file=sys.stderr)
    if single:
        from experiments.finish import finish_single

        finish_single(job.folder, plain)
    return rows


def finished(cfg: DictConfig, folder: Path) -> Rows | None:
    """The rows of a job that is done already with this very config."""
    found = read_job_result(folder)
    return found[0] if found is not None and found[1] == config.digest(cfg) else None


def run(jobs: Sequence[Job], tell: Tell) -> Iterator[Outcome]:
    """Run jobs of one signature together."""
    from experiments.jobs import run_group  # jax takes seconds to import; a skipped sweep needs none of it

    return run_group(jobs, tell)


# What the batched launcher asks of the task; see experiments.task.Task.
task.validate = config.validate
task.key = config.signature
task.finished = finished
task.run = run


def main() -> None:
    """Run Hydra, and answer whatever goes wrong in one sentence and an exit status."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        from experiments.help import print_help

        return print_help()
    wants_trace = os.environ.setdefault("HYDRA_FULL_ERROR", "1") == "1" and "DPJAX_TRACEBACK" in os.environ
    try:
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(task)()
    except KeyboardInterrupt:
        raise SystemExit("interrupted: finished jobs are on disk; run the same command again to go on.") from None
    except (HydraException, OmegaConfBaseException, ValueError, ResultsError, OSError) as error:
        if wants_trace:
            raise
        print(f"error: {explain(error)}", file=sys.stderr)
        raise SystemExit(2 if isinstance(error, (HydraException, OmegaConfBaseException)) else 1) from None


def explain(error: BaseException) -> str:
    """What went wrong and what to do about it, in one sentence.

    Example:
      >>> explain(ValueError("privacy.epsilon=0 must be > 0."))
      'privacy.epsilon=0 must be > 0.'
    """
    cause = error.__cause__ if isinstance(error, HydraException) and error.__cause__ is not None else error
    text = one_sentence(error)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"the disk is full ({error.filename}); free space and run the same command again."
    if found := re.search(r"Could not override '([^']+)'", text):
        names = [row[0] for row in config.describe()]
        return f"{found[1]} is no field of the config; {_nearest(found[1], names)}"
    if found := re.search(r"Could not find '(\w+)/([^']+)'", text):
        group, option = found.groups()
        options = sorted(path.stem for path in (CONF / group).glob("*.yaml"))
        return f"{group}={option} is not there; {_nearest(option, options)}"
    if found := re.search(r"full_key: (\S+)", text + " " + one_sentence(cause)):
        return f"{found[1]} has a value of the wrong type: {one_sentence(cause).split(' full_key')[0]}."
    return text


def _nearest(name: str, options: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, options, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]}?"
    return "use one of " + ", ".join(options) + "."


if __name__ == "__main__":
    main()
