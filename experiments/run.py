"""The main job: one private training run, or with ``-m`` a sweep that ends in a table and figures.

uv run python -m experiments.run -m experiment=quickstart
"""

import gc
import logging
import os
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

import experiments.spelling  # noqa: F401  config.yaml names folders by its resolver
from dpjax.cli import early_stop
from dpjax.cli.stopping import heard, status_of
from dpjax.program_cache import keep_programs, program_limit
from dpjax.results import read_job_result
from dpjax.results.failures import clear_failure
from dpjax.results.forged import lies_sealed_beside, told
from dpjax.results.result_files import JOB_FILE
from dpjax.results.sealing import SealedError, is_sealed
from experiments import config, identity
from experiments.border import from_hydra
from experiments.config import Config
from experiments.error_words import explain, is_expected, plainly_warned
from experiments.interrupts import held
from experiments.notifying import NO_ADDRESS, foretell, is_address
from experiments.own_experiment import as_given, with_own_experiments
from experiments.progress import Progress
from experiments.readers import refuse_unread
from experiments.strict import refuse_choices
from experiments.task import Job, Outcome, Rows, Tell, Told
from experiments.validation import validate
from experiments.withheld import WITHHELD_HERE, in_an_open_file, is_withheld, keys_are_lacking

log = logging.getLogger(__name__)


def task(cfg: DictConfig) -> Rows:
    """One job by itself: what a launcher other than the batched one calls."""
    single = HydraConfig.get().mode == RunMode.RUN
    try:
        refuse_choices(HydraConfig.get(), sweep=not single)
        typed = from_hydra(cfg)
        if single:  # of a sweep all jobs are looked at together, before they are launched
            refuse_unread(typed, HydraConfig.get().runtime.choices)
        overrides = as_given(" ".join(HydraConfig.get().overrides.task))
        job = Job(typed, Path(HydraConfig.get().runtime.output_dir), overrides)
        return Told(_run_single(job) if single else _run_job(job))
    except Exception as error:
        if single and is_expected(error) and not _wants_trace():
            log.error("%s", explain(error) if in_an_open_file(cfg, error) is None else WITHHELD_HERE)  # into run.log
            _give_up(error)  # here, since Hydra would print its own line before it lets the error out
        raise


def _run_job(job: Job, tell: Tell = lambda stage, done, total: None) -> Rows:
    rows = finished(job.cfg, job.folder)
    if rows is not None:
        return rows
    admit([[job]])
    outcome = next(iter(run([job], tell)))
    if outcome.error is not None:
        raise outcome.error
    return outcome.rows


def _run_single(job: Job) -> Rows:
    from experiments.finish import finish_single

    foretell(job.cfg.notify)
    with Progress(1) as progress:
        if finished(job.cfg, job.folder) is not None:
            progress.all_skipped()
        rows = _run_job(job, progress.tell)
    finish_single(job.folder, job.cfg)
    return rows


def _is_saved(cfg: Config, folder: Path) -> bool:
    """Whether the model and the texts that a job was to leave are there: who deleted them wants them anew."""
    texts = [folder / f"synthetic-{cfg.seed + k}.csv" for k in range(cfg.num_seeds)]
    written = cfg.model.task != "synthetic" or all(path.is_file() for path in texts)
    return written and (not cfg.save_model or any((folder / "model").glob("*.safetensors")))


def finished(cfg: Config, folder: Path) -> Rows | None:
    """The rows of a job that is done already with this very config, code and data, and whose files are there."""
    if cfg.governance.seal and (folder / JOB_FILE).is_file() and not is_sealed(folder / JOB_FILE):
        raise SealedError(told(folder / JOB_FILE))
    on_disk = read_job_result(folder)
    if on_disk is None or not identity.is_finished(cfg, *on_disk) or not _is_saved(cfg, folder):
        if not cfg.governance.seal and lies_sealed_beside(folder / JOB_FILE):
            raise SealedError(
                f"results of this sweep are sealed, and that of {folder} would lie open among them; add "
                "governance=local governance.seal=true, or give it a folder of its own, as name=second."
            )
        return None
    clear_failure(folder)
    return on_disk[0]


def run(jobs: Sequence[Job], tell: Tell) -> Iterator[Outcome]:
    """Run jobs of one signature together."""
    if any(is_withheld(job.cfg) for job in jobs):
        keys_are_lacking()  # else they are held from here on, whatever becomes of their source
    if "jax" not in sys.modules:
        tell("importing JAX", 0, 1)
    with held():
        keep_programs()
        from experiments.jobs import run_group  # jax takes seconds to import; a skipped sweep needs none of it

    return run_group(jobs, tell)


def admit(groups: Sequence[Sequence[Job]]) -> None:
    """Refuse jobs that a ledger can't let begin, before their folders are touched and JAX is imported."""
    from experiments.admission import admit as admitted  # with the data sets, which a job that is done needs not

    admitted(job.cfg for jobs in groups for job in jobs)


def reserve(groups: Sequence[Sequence[Job]], tell: Tell) -> AbstractContextManager[object]:
    """Reserve what all groups of a sweep spend, until the end of the context; nothing where no ledger is kept."""
    groups = [jobs for jobs in groups if jobs[0].cfg.governance.name != "off"]
    if not groups:
        return nullcontext()
    from experiments import jobs

    reserved = jobs.reserve(groups, tell)
    return nullcontext() if reserved is None else closing(reserved)


# What the batched launcher asks of the task; see experiments.task.Task.
vars(task).update(
    typed=from_hydra, checked=validate, key=identity.signature, finished=finished, run=run, admit=admit, reserve=reserve
)


def main() -> None:
    """Run Hydra, and answer whatever goes wrong in one sentence and an exit status."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        from experiments.help import print_help

        return print_help()
    # Hydra's parser takes -m in front of the overrides only.
    sys.argv[1:] = sorted(sys.argv[1:], key=lambda word: word not in ("-m", "--multirun"))
    _refuse_flags(sys.argv[1:])
    _refuse_no_folder(sys.argv[1:])
    _refuse_address(sys.argv[1:])
    os.environ["HYDRA_FULL_ERROR"] = "1"  # or Hydra prints errors itself
    logging.raiseExceptions = False  # a log that can't be written, on a full disk say, is no reason for a traceback
    try:
        early_stop.over()
        program_limit()  # what is wrong with it is said before anything runs
        with heard(), plainly_warned(), with_own_experiments(sys.argv[1:]) as words:
            sys.argv[1:] = words
            hydra.main(version_base="1.3", config_path=str(config.CONF), config_name="config")(task)()
    except KeyboardInterrupt as stop:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one would break what is said and tidied up now
        print("interrupted: finished jobs are on disk; run the same command again to go on.", file=sys.stderr)
        raise SystemExit(status_of(stop)) from None
    except Exception as error:
        if _wants_trace() or not is_expected(error):
            raise
        _give_up(error)


def _refuse_flags(words: Sequence[str]) -> None:
    """Hydra would answer a flag that it does not know with ten lines of usage."""

    def refuse(message: str) -> NoReturn:
        message = re.sub(r"(unrecognized arguments: -\S+).*", r"\1", message)
        print(
            f"error: {message}; fields are written without dashes, as privacy.epsilon=1: see --help.", file=sys.stderr
        )
        raise SystemExit(2)

    parser = get_args_parser()
    parser.error = refuse
    parser.parse_args(words)


def _refuse_no_folder(words: Sequence[str]) -> None:
    """Before Hydra makes a folder: a path that begins with nothing begins at the root of the file system."""
    for word in words:
        name, equals, value = word.lstrip("+").partition("=")
        if name in _FOLDERS and equals and not value.strip("'\" "):
            print(f"error: {name}= is empty; give a folder, as {name}=results, or leave it out.", file=sys.stderr)
            raise SystemExit(1)


def _refuse_address(words: Sequence[str]) -> None:
    """Before Hydra writes its record of the command, or says what it can't read of it."""
    for word in words:
        name, equals, value = word.lstrip("+").partition("=")
        if name == "notify" and equals and is_address(value.strip("'\"")):
            print(f"error: {NO_ADDRESS}", file=sys.stderr)
            raise SystemExit(1)


_FOLDERS = ("results_dir", "hydra.run.dir", "hydra.sweep.dir")


def _wants_trace() -> bool:
    return "DPJAX_TRACEBACK" in os.environ


def _give_up(error: Exception) -> NoReturn:
    print(f"error: {explain(error)}", file=sys.stderr)
    raise SystemExit(2 if isinstance(error, (HydraException, OmegaConfBaseException)) else 1)


if __name__ == "__main__":
    # Imports and tracing make objects by the million, few of them in cycles, and looking took a tenth of the time.
    gc.set_threshold(50_000, 20, 20)
    try:
        main()
    finally:
        early_stop.done()
