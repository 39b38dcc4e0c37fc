"""``dpjax epsilon`` and ``dpjax calibrate``: from a training run to its ε, and back."""

import json
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from dpjax.accounting.mechanism import UNITS
from dpjax.accounting.samplings import SAMPLINGS

if TYPE_CHECKING:
    from dpjax.accounting import Mechanism


def _words(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}"


Accountant = Literal["pld", "rdp"]

_RATE = typer.Option("--sampling-rate", help="Chance that a unit is in a step's cohort: batch size / population.")
_POPULATION = typer.Option("--population", help="Units in the training data; fixed_size, shuffled and cyclic need it.")
_COHORT = typer.Option(
    "--expected-cohort-size", help="Expected units in a step (the batch size), with --population instead of the rate."
)
_STEPS = typer.Option("--num-steps", help="Noisy steps in the whole run; rounds if federated.")
_EPOCHS = typer.Option("--epochs", help="Passes over the data, instead of --num-steps: epochs / sampling rate steps.")
_DELTA = typer.Option("--delta", help="δ of the guarantee; well below 1 / population.")
_SAMPLING = typer.Option(
    "--sampling",
    metavar="NAME",  # and the choices as words of the help, for narrow terminals cut what stands in < | >
    help=f"How cohorts are drawn, by the sampler that runs: {_words(SAMPLINGS)}.",
)
_ADJACENCY = typer.Option(
    "--adjacency",
    metavar="NAME",
    help="Neighbouring data sets: zero_out (of one unit; their number is public), add_or_remove_one or replace_one.",
    show_default="zero_out; of fixed_size cohorts add_or_remove_one",
)
_UNIT = typer.Option(
    "--unit",
    metavar="NAME",
    help=f"What is protected: {_words(UNITS)}. Only words, the arithmetic is the same.",
)
_RECORDS = typer.Option(
    "--records-per-unit",
    help="Most records that a user or client owns, where records are drawn and clipped one by one; then rate and "
    "population are of records.",
)
_RELEASE = typer.Option(
    "--release-noise-multiplier",
    help="Of counts that were released before the run, as by data.release: standard deviation / the most that one unit "
    "moves them. None: nothing was.",
)
_RELEASE_DELTA = typer.Option(
    "--release-delta", help="With it: the chance that a name was released which only one unit has; see a row."
)
_JSON = typer.Option("--json", help="Print JSON for programs.")


def epsilon_command(
    noise_multiplier: Annotated[
        float, typer.Option("--noise-multiplier", help="Standard deviation of the noise on the sum / clip norm.")
    ],
    delta: Annotated[float, _DELTA],
    sampling_rate: Annotated[float | None, _RATE] = None,
    population: Annotated[int | None, _POPULATION] = None,
    expected_cohort_size: Annotated[float | None, _COHORT] = None,
    num_steps: Annotated[int | None, _STEPS] = None,
    epochs: Annotated[float | None, _EPOCHS] = None,
    sampling: Annotated[str, _SAMPLING] = "poisson",
    adjacency: Annotated[str | None, _ADJACENCY] = None,
    unit: Annotated[str, _UNIT] = "example",
    records_per_unit: Annotated[int, _RECORDS] = 1,
    release_noise_multiplier: Annotated[float | None, _RELEASE] = None,
    release_delta: Annotated[float, _RELEASE_DELTA] = 0.0,
    accountant: Annotated[
        Literal["pld", "rdp", "both"],
        typer.Option("--accountant", metavar="NAME", help="pld (tight), rdp (instant and looser) or both."),
    ] = "both",
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """What ε does this training run have?

    Describes DP-SGD or DP-FedAvg: so many steps, in each the clipped contributions of a random cohort are summed and
    Gaussian noise is added.

    [bold]Examples[/bold]

      dpjax epsilon --noise-multiplier 1.1 --sampling-rate 0.01 --num-steps 10000 --delta 1e-5

      dpjax epsilon --noise-multiplier 1.1 --population 60000 --expected-cohort-size 256 --epochs 20 --delta 1e-6

    [bold]Words[/bold]

      The [bold]unit[/bold] is what is protected: an example, a user with all their examples, or a client. If users
      have several records, which are drawn and clipped one by one, --records-per-unit says how many at most.

      The [bold]adjacency[/bold] says which data sets must be hard to tell apart. At the same noise, replace_one has
      the larger ε: one unit leaves and another comes.

      The [bold]noise multiplier[/bold] is the noise's standard deviation divided by the clip norm, whatever the
      adjacency. Some tools divide by the sensitivity instead, which is twice the clip norm under replace_one.
    """
    from dpjax.accounting import epsilon
    from dpjax.results.claims import claim, rounded_up

    mechanism = _mechanism(
        noise_multiplier,
        sampling_rate,
        population,
        expected_cohort_size,
        num_steps,
        epochs,
        sampling,
        adjacency,
        unit,
        records_per_unit,
    )
    mechanism = _released(mechanism, release_noise_multiplier, release_delta)
    _check_delta(delta, population)
    wanted = get_args(Accountant) if accountant == "both" else (accountant,)
    epsilons = {name: epsilon(mechanism, delta, name) for name in wanted}
    row = _row(mechanism, delta) | {f"epsilon_{name}": value for name, value in epsilons.items()}
    if as_json:
        _print_json(row | {"claim": claim(row)})
        return
    for name, value in epsilons.items():
        typer.echo(f"{name.upper()}  ε = {rounded_up(value, 5)}")
    typer.echo(claim(row))


def calibrate_command(
    epsilon: Annotated[list[str], typer.Option("--epsilon", help="Target ε; several with commas or repeated.")],
    delta: Annotated[float, _DELTA],
    sampling_rate: Annotated[float | None, _RATE] = None,
    population: Annotated[int | None, _POPULATION] = None,
    expected_cohort_size: Annotated[float | None, _COHORT] = None,
    num_steps: Annotated[int | None, _STEPS] = None,
    epochs: Annotated[float | None, _EPOCHS] = None,
    sampling: Annotated[str, _SAMPLING] = "poisson",
    adjacency: Annotated[str | None, _ADJACENCY] = None,
    unit: Annotated[str, _UNIT] = "example",
    records_per_unit: Annotated[int, _RECORDS] = 1,
    release_noise_multiplier: Annotated[float | None, _RELEASE] = None,
    release_delta: Annotated[float, _RELEASE_DELTA] = 0.0,
    accountant: Annotated[
        Accountant,
        typer.Option("--accountant", metavar="NAME", help="pld, which needs the least noise, or rdp, of older papers."),
    ] = "pld",
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """How much noise buys this ε?

    Prints the smallest noise multiplier for each ε. Results are cached on disk, so that asking again is instant.

    [bold]Examples[/bold]

      dpjax calibrate --epsilon 1,2,4,8 --sampling-rate 0.01 --num-steps 10000 --delta 1e-5

      dpjax calibrate --epsilon 2 --unit client --population 500 --expected-cohort-size 50 --num-steps 100 --delta 1e-4

    [bold]Words[/bold]

      The [bold]noise multiplier[/bold] is the noise's standard deviation divided by the clip norm: add Gaussian noise
      of noise multiplier × clip norm to each step's [bold]sum[/bold], before dividing by the expected cohort size.

      [bold]unit[/bold] and [bold]adjacency[/bold]: see dpjax epsilon --help.
    """
    from dpjax.accounting import calibrate_noise_grid
    from dpjax.results.claims import claim, small

    targets = _targets(epsilon)
    mechanism = _mechanism(
        1.0,
        sampling_rate,
        population,
        expected_cohort_size,
        num_steps,
        epochs,
        sampling,
        adjacency,
        unit,
        records_per_unit,
    )
    mechanism = _released(mechanism, release_noise_multiplier, release_delta)
    _check_delta(delta, population)
    with _progress(len(targets)) as tell:
        noises = calibrate_noise_grid(mechanism, epsilons=targets, delta=delta, accountant=accountant, progress=tell)
    rows = [
        _row(mechanism, delta)
        | {"epsilon": target, "accountant": accountant, "noise_multiplier": noise, f"epsilon_{accountant}": target}
        for target, noise in zip(targets, noises, strict=True)
    ]
    if as_json:
        _print_json([row | {"claim": claim(row)} for row in rows])
        return
    width = max(len(small(target)) for target in targets)
    typer.echo(f"{'ε':>{width}}  noise multiplier")
    for target, noise in zip(targets, noises, strict=True):
        # Rounded up: less noise than was found would not reach ε.
        typer.echo(f"{small(target):>{width}}  {math.ceil(noise * 1e5 - 1e-6) / 1e5:.5f}")
    private = [row for row in rows if math.isfinite(row["epsilon"])]
    typer.echo(claim((private or rows)[0]) + ("; the others alike" if len(private) > 1 else ""))


def _mechanism(
    noise_multiplier: float,
    sampling_rate: float | None,
    population: int | None,
    expected_cohort_size: float | None,
    num_steps: int | None,
    epochs: float | None,
    sampling: str,
    adjacency: str | None,
    unit: str,
    records_per_unit: int,
) -> "Mechanism":
    from dpjax.accounting import Mechanism, default_adjacency

    if population is not None and population < 1:
        raise ValueError(f"--population {population} is no number of units: give at least 1")
    if sampling == "full":
        rate = 1.0 if sampling_rate is None else sampling_rate
    elif (sampling_rate is None) == (expected_cohort_size is None):
        what = "is missing" if sampling_rate is None else f"{sampling_rate:g} and --expected-cohort-size say one thing"
        raise ValueError(f"--sampling-rate {what}: give either it, or --expected-cohort-size with --population")
    elif expected_cohort_size is None:
        assert sampling_rate is not None
        rate = sampling_rate
    elif population is None:
        raise ValueError(
            f"--expected-cohort-size {expected_cohort_size:g} needs --population: give the number of units"
        )
    elif not 0 < expected_cohort_size <= population:
        raise ValueError(
            f"--expected-cohort-size {expected_cohort_size:g} does not lie between 0 and --population {population}: "
            "lower it"
        )
    else:
        rate = expected_cohort_size / population
    if (num_steps is None) == (epochs is None):
        what = "is missing" if num_steps is None else f"{num_steps} and --epochs say one thing"
        raise ValueError(f"--num-steps {what}: give either it or --epochs")
    if epochs is not None and not 0 < epochs < math.inf:
        raise ValueError(f"--epochs {epochs:g} is no number of passes over the data: give a number above 0")
    steps = num_steps if epochs is None else math.ceil(epochs / rate - 1e-9) if rate > 0 else 1
    assert steps is not None
    return Mechanism(
        unit=unit,
        adjacency=adjacency or default_adjacency(sampling),
        sampling=sampling,
        sampling_rate=rate,
        noise_multiplier=noise_multiplier,
        num_steps=steps,
        population=population,
        records_per_unit=records_per_unit,
    )


def _released(mechanism: "Mechanism", noise_multiplier: float | None, delta: float) -> "Mechanism":
    from dpjax.accounting import Release

    if noise_multiplier is None:
        if delta:
            raise ValueError(f"--release-delta {delta:g} is of --release-noise-multiplier: give that too")
        return mechanism
    return replace(mechanism, released=Release(noise_multiplier, delta))


def _check_delta(delta: float, population: int | None) -> None:
    if population is not None and delta >= 1 / population:
        raise ValueError(f"--delta {delta:g} is not below 1 / --population = {1 / population:.3g}: lower it")


def _targets(words: list[str]) -> list[float]:
    parts = [part.strip() for word in words for part in word.split(",") if part.strip()]
    try:
        targets = [float(part) for part in parts]
    except ValueError:
        raise ValueError(f"--epsilon {','.join(parts)} is no list of numbers: write it like 0.5,1,2,inf") from None
    if not targets:
        raise ValueError("epsilon is empty: give one or more numbers, like 0.5,1,2")
    for target in targets:
        if not target > 0:
            raise ValueError(f"--epsilon {target:g} is not above 0: give a positive number, or inf for no privacy")
    return targets


def _row(mechanism: "Mechanism", delta: float) -> dict[str, Any]:
    from dpjax.results.mechanisms import columns_of

    columns = columns_of(mechanism) | {"delta": delta, "tuning_accounted": False}
    return {name: value for name, value in columns.items() if value is not None}


def _print_json(value: Any) -> None:
    from dpjax.results.schema import encode

    rows = value if isinstance(value, list) else [value]
    encoded = [{name: encode(name, cell) for name, cell in row.items()} for row in rows]
    out = encoded if isinstance(value, list) else encoded[0]
    typer.echo(json.dumps(out, allow_nan=False, ensure_ascii=False, indent=1))


@contextmanager
def _progress(total: int) -> Iterator[Any]:
    # A bar on stderr that leaves nothing behind; nothing at all where stderr is no terminal.
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("calibrating", total=total)

        def tell(done: int, total: int, epsilon: float) -> None:
            bar.update(task, completed=done, total=total, description=f"calibrated ε={epsilon:g}")

        yield tell
