"""A group of jobs that share one compilation: calibrate, run as lanes, make rows."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

from dpjax import accounting
from dpjax.clipping.adaptive import stddev_of_count
from dpjax.kept_lanes import KeptProgram
from dpjax.models.tuning import refuse_unmoved
from dpjax.results import ResultsError, write_job_result
from dpjax.results.claims import small, small_delta
from dpjax.sweeps import Lane, Program
from dpjax.types import HParams
from experiments import config, identity
from experiments.admission import rows_unquoted
from experiments.alone import alone, refuse_others
from experiments.argument_fields import MECHANISM, in_fields
from experiments.fields import hparams_in
from experiments.hints import hint
from experiments.inputs import inputs, noted_imports, plugin_inputs
from experiments.kept_jobs import compile_group, forget_lanes, run_group_lanes
from experiments.memory import refuse_lanes
from experiments.privacy import as_run, check_aborts, clip_norm, noise_share
from experiments.problems.saving import save_model
from experiments.readers import Sweep, refuse_unread_by_plugin
from experiments.rows import common, outputs, pace, tell_of_release, test_scores, warn_of_what_is_not_covered
from experiments.rows_of_units import say_rows_of_units
from experiments.setup import Setup, build
from experiments.setup import adaptive as adaptive_of
from experiments.task import Job, Outcome, Tell

if TYPE_CHECKING:
    from experiments.governed import Metered, Planned, Reserved


class Point(NamedTuple):
    """A job and the noise that buys its ε: a multiplier, or an ε for each report that clients randomise."""

    job: Job
    noise_multiplier: float
    epsilon_per_report: float | None = None


def run_group(jobs: Sequence[Job], tell: Tell = lambda stage, done, total: None) -> Iterator[Outcome]:
    """Run jobs of one signature with one compilation; each job's result is on disk before it is given back.

    Args:
      jobs: validated jobs whose ``identity.signature`` is equal.
      tell: hears what is being done.

    Raises:
      ValueError: what fails all of them alike.
    """
    first = jobs[0].cfg
    with nullcontext() if first.governance.name == "off" else alone([job.folder for job in jobs]):
        yield from _run_group(jobs, tell)


def _run_group(jobs: Sequence[Job], tell: Tell) -> Iterator[Outcome]:
    first = jobs[0].cfg
    num_lanes = sum(job.cfg.num_seeds for job in jobs)
    refuse_lanes(first, num_lanes)
    tell("loading data", 0, 1)
    files = inputs(first)  # all jobs of one signature read the same
    with rows_unquoted(first):
        setup = build(first, tell)
    hashes = inputs(first)
    # What a plugin imports only when it is called is known from now on, and was hashed as it was imported.
    late = plugin_inputs(first.plugin) | noted_imports(first.plugin) if first.plugin else {}
    _check_unchanged(late | files, hashes)
    files = hashes
    warn_of_what_is_not_covered(jobs, setup)
    hint(first)
    sound, refused = _sound(jobs, setup)
    yield from refused
    if not sound:
        return
    helpers = ThreadPoolExecutor(2)  # XLA compiles on one core while ε is computed on another
    try:
        compiling = helpers.submit(compile_group, first, setup, num_lanes)
        points, refused = _calibrate(sound, setup, lambda *calibrated: tell(*_with(compiling, *calibrated)))
        yield from refused
        if not points:
            return
        tell_of_release([point.job.cfg for point in points], setup.problem.dataset)
        facts = [helpers.submit(common, *point, setup, files) for point in points]
        refused = _unstated(points, facts)
        yield from refused.values()
        points = [point for i, point in enumerate(points) if i not in refused]
        facts = [each for i, each in enumerate(facts) if i not in refused]
        if not points:
            return
        meter = _metered(points, setup, files)
        say_rows_of_units(first, setup)  # not before it is known who may see it
        with closing(meter) if meter is not None else nullcontext():
            tell("compiling", 0, 1)
            program = compiling.result()
            _check_known(first.plugin, files)
            tell("compiling", 1, 1)
            yield from _train(points, facts, program, tell, setup, files, meter)
    finally:  # an interrupt need not wait for what nobody will read
        helpers.shutdown(wait=False, cancel_futures=True)


def reserve(groups: Sequence[Sequence[Job]], tell: Tell) -> "Reserved | None":
    """Reserve what all groups of a sweep will spend, before any of them starts.

    Args:
      groups: validated jobs of one signature each, with ``governance=local``.
      tell: hears what is being done.

    Raises:
      ValueError: there is not enough left for all of them; nothing is reserved.
    """
    from experiments.governed import reserve_groups

    refuse_others([job.folder for jobs in groups for job in jobs])
    planned = []
    for done, jobs in enumerate(groups):
        tell("adding up what the sweep spends", done, len(groups))
        files = inputs(jobs[0].cfg)
        with rows_unquoted(jobs[0].cfg):
            setup = build(jobs[0].cfg)
        points, _ = _calibrate(_sound(jobs, setup)[0], setup, lambda *stage: None)  # what is refused says so later
        if points:
            planned.append((_planned_runs(points, setup), files))
    return reserve_groups(planned)


def _metered(points: Sequence[Point], setup: Setup, files: dict[str, str]) -> "Metered | None":
    """What the points spend, where somebody keeps a ledger of it."""
    if points[0].job.cfg.governance.name == "off":
        return None
    from experiments.governed import metered  # with what it needs, which nobody else does

    return metered(_planned_runs(points, setup), files)


def _planned_runs(points: Sequence[Point], setup: Setup) -> "list[Planned]":
    from experiments.governed import Planned

    planned = []
    for point in points:
        ran = as_run(
            setup.mechanism, point.job.cfg.federated, setup.sampler, point.noise_multiplier, point.epsilon_per_report
        )
        planned.append(Planned(point.job, ran, hparams_of(point)))
    return planned


def _with(compiling: Future[Program | KeptProgram], stage: str, done: int, total: int) -> tuple[str, int, int]:
    """The stage, and that a program is compiled beside it, for which both take longer than alone."""
    return (stage if compiling.done() else f"{stage} while compiling"), done, total


def _train(
    points: Sequence[Point],
    facts: Sequence[Future[dict[str, Any]]],
    program: Program | KeptProgram,
    tell: Tell,
    setup: Setup,
    files: dict[str, str],
    meter: "Metered | None",
) -> Iterator[Outcome]:
    """Run every seed of every point as a lane; a job is done when its last seed is."""
    owners = [i for i, point in enumerate(points) for _ in range(point.job.cfg.num_seeds)]
    seeds = [point.job.cfg.seed + k for point in points for k in range(point.job.cfg.num_seeds)]
    lanes = [(points[i].job, seed, hparams_of(points[i])) for i, seed in zip(owners, seeds, strict=True)]
    finished: dict[int, dict[int, dict[str, Any]]] = {i: {} for i in range(len(points))}
    failed: dict[int, Exception] = {}
    tell("training", 0, len(seeds))
    for done, lane in enumerate(run_group_lanes(program, lanes, files, meter), start=1):
        i, seed = owners[lane.index], seeds[lane.index]
        job = points[i].job
        finished[i][seed] = outputs(lane)
        finished[i][seed] |= test_scores(lane, setup.problem.dataset, finished[i][seed]["diverged"])
        finished[i][seed] |= pace(job.cfg, setup, lane.wall_seconds)
        finished[i][seed]["compile_seconds"] = program.compile_seconds / len(seeds)
        if meter is not None:
            finished[i][seed] |= meter.columns(job, seed)
        try:
            if setup.scores is not None:
                logits = None if finished[i][seed]["diverged"] else lane.output.test_logits
                finished[i][seed] |= setup.scores(logits, setup.problem.dataset.test_labels)
            finished[i][seed] |= _release(job, seed, lane, setup, facts[i], finished[i][seed], tell, meter)
        except (ValueError, OSError, ResultsError) as error:  # of this job; the others go on
            failed[i] = error
        tell("training", done, len(seeds))
        if len(finished[i]) == points[i].job.cfg.num_seeds:
            done_rows = finished.pop(i)
            if meter is not None:
                meter.ended(job)
            yield (
                Outcome(job, [], failed[i])
                if i in failed
                else _finish(job, facts[i], done_rows, lane.output.unmoved, identity.digest(job.cfg, files))
            )


def _release(
    job: Job,
    seed: int,
    lane: Lane,
    setup: Setup,
    facts: Future[dict[str, Any]],
    output: dict[str, Any],
    tell: Tell,
    meter: "Metered | None",
) -> dict[str, Any]:
    """Write what a lane has trained, and what that writes, each with its claim; what came out on the way."""
    saved, finish = job.cfg.save_model and seed == job.cfg.seed, setup.problem.finish
    if not saved and finish is None:
        return {}
    row, trained = facts.result() | {"seed": seed} | output, lane.output.trained
    if saved:
        dataset = setup.problem.dataset
        folder = save_model(
            job.cfg, job.folder / "model", trained, row, dataset.class_names, dataset.target, dataset.feature_names
        )
        if meter is not None:
            meter.saved(job, seed, folder)
    return {} if finish is None else finish(trained, seed, job.folder, row, tell)


def _unstated(points: Sequence[Point], facts: Sequence[Future[dict[str, Any]]]) -> dict[int, Outcome]:
    """The points whose noise was given and has no ε that could be stated: known before they train."""
    given = {i: point for i, point in enumerate(points) if point.job.cfg.privacy.noise_multiplier is not None}
    errors = {i: facts[i].exception() for i in given}
    for error in errors.values():
        if error is not None and not isinstance(error, ValueError):
            raise error
    return {i: Outcome(given[i].job, [], error) for i, error in errors.items() if isinstance(error, ValueError)}


def _check_unchanged(before: dict[str, str], after: dict[str, str]) -> None:
    """What was hashed is what was loaded."""
    changed = [name for name in after if before.get(name) != after[name]]
    if changed:
        raise config.ConfigError(f"{changed[0]} changed while it was read; run the same command again.")


def _check_known(plugin: str, files: dict[str, str]) -> None:
    """What a plugin imported while it was compiled was known before."""
    unknown = sorted(noted_imports(plugin).keys() - files.keys())
    if unknown:
        raise config.ConfigError(
            f"plugin={plugin} imported {unknown[0]} in one call and not in the one before; import it at the top."
        )


def _finish(
    job: Job, facts: Future[dict[str, Any]], outputs: dict[int, dict[str, Any]], unmoved: Any, digest: str
) -> Outcome:
    try:
        if job.cfg.optimizer.num_steps > 1:  # after one step an adapter's `a` has seen no gradient yet
            refuse_unmoved(unmoved)
        rows = [{**facts.result(), "seed": seed, **outputs[seed]} for seed in sorted(outputs)]
        write_job_result(job.folder, rows, digest, seal=job.cfg.governance.seal)
        forget_lanes(job.folder)
    except (ValueError, ResultsError, OSError) as error:
        return Outcome(job, [], error)
    return Outcome(job, rows)


def _sound(jobs: Sequence[Job], setup: Setup) -> tuple[list[Job], list[Outcome]]:
    """The jobs that are worth compiling for, and those that are known to be none before their noise is."""
    sound: list[Job] = []
    refused: list[Outcome] = []
    together = Sweep([job.cfg for job in jobs])
    for job in jobs:
        try:
            if setup.read is not None:
                refuse_unread_by_plugin(job.cfg, job.overrides, setup.read, together)
            check_aborts(_planned(job, setup), job.cfg.privacy, job.cfg.federated)
            if job.cfg.privacy.is_private:
                _check_delta(job.cfg.privacy.delta, setup)
            if job.cfg.privacy.noise_multiplier is not None:
                _check_count_noise(Point(job, job.cfg.privacy.noise_multiplier), setup)
            sound.append(job)
        except config.ConfigError as error:
            refused.append(Outcome(job, [], error))
    return sound, refused


def _calibrate(jobs: Sequence[Job], setup: Setup, tell: Tell) -> tuple[list[Point], list[Outcome]]:
    """Each job's noise multiplier, a grid of ε at a time; and the jobs that can't have one."""
    grids: dict[tuple[float, str, float], list[Job]] = {}
    found: list[Point] = []
    refused: list[Outcome] = []
    for job in jobs:
        aborts = _planned(job, setup).abort_probability  # of dropouts, which differ from job to job
        grids.setdefault((job.cfg.privacy.delta, job.cfg.privacy.accountant, aborts), []).append(job)
    for (delta, accountant, _), members in grids.items():
        private = [job for job in members if job.cfg.privacy.is_private]
        # Without noise there is nothing to account, whatever the sampler.
        found += [Point(job, 0.0) for job in members if not job.cfg.privacy.is_private]
        if not private:
            continue
        try:
            with in_fields(MECHANISM):
                points = _points(private, setup, delta, accountant, tell)
        except ValueError as error:
            refused += [Outcome(job, [], error) for job in private]
            continue
        for point in points:
            try:
                _check_count_noise(point, setup)
                found.append(point)
            except config.ConfigError as error:
                refused.append(Outcome(point.job, [], error))
    return found, refused


def calibrated(job: Job, setup: Setup, tell: Tell) -> Point:
    """A job with its noise, as a group of its own.

    Args:
      job: validated.
      setup: of its signature.
      tell: hears how far it is.

    Raises:
      ValueError: it can't have one, or what is known to go wrong.
    """
    sound, refused = _sound([job], setup)
    points, unfit = _calibrate(sound, setup, tell)
    for outcome in (*refused, *unfit):
        assert outcome.error is not None
        raise outcome.error
    return points[0]


def _planned(job: Job, setup: Setup) -> accounting.Mechanism:
    """The job's mechanism before its noise is known."""
    return as_run(setup.mechanism, job.cfg.federated, setup.sampler, 0.0)


def _points(jobs: Sequence[Job], setup: Setup, delta: float, accountant: str, tell: Tell) -> list[Point]:
    given = [Point(job, z) for job in jobs if (z := job.cfg.privacy.noise_multiplier) is not None]
    if given:
        rest = [job for job in jobs if job.cfg.privacy.noise_multiplier is None]
        return given + (_points(rest, setup, delta, accountant, tell) if rest else [])
    epsilons = [job.cfg.privacy.epsilon for job in jobs]
    tell("calibrating noise", 0, len(set(epsilons)))
    planned = _planned(jobs[0], setup)
    if planned.noising.pure:
        per_report = {
            epsilon: accounting.calibrate_report_epsilon(planned, epsilon=epsilon, delta=delta, accountant=accountant)
            for epsilon in set(epsilons)
        }
        return [Point(job, 0.0, per_report[epsilon]) for job, epsilon in zip(jobs, epsilons, strict=True)]
    multipliers = accounting.calibrate_noise_grid(
        planned,
        epsilons=epsilons,
        delta=delta,
        accountant=accountant,
        progress=lambda done, total, epsilon: tell("calibrating noise", done, total),
    )
    return list(map(Point, jobs, multipliers))


def _check_delta(delta: float, setup: Setup) -> None:
    population = setup.num_units
    if delta >= 1 / population:
        raise config.ConfigError(
            f"privacy.delta={delta:g} must be below 1/population = 1/{population} {setup.mechanism.unit}s; "
            f"use {small(small_delta(population))} or less."
        )


def _check_count_noise(point: Point, setup: Setup) -> None:
    """A noise multiplier that adaptive clipping cannot share between sum and count: inside the program it is traced."""
    adaptive = adaptive_of(point.job.cfg.clipping)
    if adaptive is None:
        return
    stddev = stddev_of_count(adaptive, setup.sampler.expected_cohort_size)
    z = point.noise_multiplier
    if not z < 2 * stddev:
        privacy = point.job.cfg.privacy
        has = f"privacy.epsilon={privacy.epsilon:g} takes a noise multiplier of {z:.3g},"
        if privacy.noise_multiplier is not None:
            has = f"privacy.noise_multiplier={z:.3g} is one"
        raise config.ConfigError(
            f"{has} which "
            f"clipping=adaptive cannot share between sum and count with clipping.count_stddev={stddev:.3g}; "
            f"set that to {z:.2g} or more, or take larger cohorts."
        )


def hparams_of(point: Point) -> HParams:
    """The hyper-parameters of a job that has its noise."""
    return HParams(**hparams_in(point.job.cfg), **_hparams_of_privacy(point))


def _hparams_of_privacy(point: Point) -> dict[str, float]:
    """The hyper-parameters that no field of the config says as it stands."""
    return {
        "clip_norm": clip_norm(point.job.cfg.privacy, point.job.cfg.federated),
        "noise_multiplier": point.noise_multiplier * noise_share(point.job.cfg.federated),
        "epsilon_per_report": point.epsilon_per_report or 1.0,
    }
