"""The root of the command line: which commands there are, each imported when it is called."""

import inspect
import itertools
import os
import re
import sys
from collections.abc import Collection, Sequence
from importlib import import_module
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

try:
    from typer.exceptions import TyperException
except ImportError:  # before 0.25 typer had click's own, as Flower still wants it
    from click.exceptions import ClickException as TyperException

_GROUP = "dpjax.commands"


class Command(NamedTuple):
    """A command that is not imported yet.

    Attributes:
      target: ``module:name`` of a function or a Typer app.
      summary: one line for ``dpjax --help``.
    """

    target: str
    summary: str


_COMMANDS = {
    "epsilon": Command("dpjax.cli.accounting:epsilon_command", "What ε does this training run have?"),
    "calibrate": Command("dpjax.cli.accounting:calibrate_command", "How much noise buys this ε?"),
    "data": Command("dpjax.cli.hub_tables:app", "List the data sets, fetch them, look at one."),
    "models": Command("dpjax.cli.models:app", "List the pretrained models, fetch them, look at one."),
    "generate": Command("dpjax.cli.models:generate_command", "Let a tuned language model write."),
    "cache": Command("dpjax.cli.cache:app", "What is kept to save time, how much of it, and how to be rid of it."),
    "compare": Command("dpjax.cli.compare:compare_command", "Is one sweep better than another, by more than seeds?"),
    "results": Command("dpjax.cli.results:app", "Show a sweep's table, its columns, or export it."),
    "status": Command("dpjax.cli.status:status_command", "How far is a sweep, and what is best so far?"),
    "ledger": Command("dpjax.cli.ledger:app", "Budgets of sensitive data: what is left, and who spent what."),
    "policy": Command("dpjax.cli.policy:app", "Who may do what with sensitive data."),
    "whoami": Command("dpjax.cli.policy:whoami_command", "Who are you to the ledger, and what may you do?"),
    "keys": Command("dpjax.cli.keys:app", "Keys that files at rest are sealed with: make, show, rotate, open."),
    "release": Command("dpjax.cli.release:release_command", "Let a model leave with its privacy statement, if it may."),
    "report": Command("dpjax.cli.report:report_command", "Write a sweep as one HTML page, or follow it while it runs."),
}
# An entry point says nothing of itself before it is imported; these lines spare `dpjax --help` that.
_KNOWN_SUMMARIES = {
    "deploy": "A federation whose clients are real processes, on Flower.",
    "new": "Write a small project that runs as it is.",
    "plot": "Draw a sweep's privacy-utility curve and its other figures.",
}

_HELP = """
Privacy-utility benchmarking in JAX.

[bold]Examples[/bold]

  dpjax epsilon --noise-multiplier 1.1 --sampling-rate 0.01 --num-steps 10000 --delta 1e-5

  dpjax calibrate --epsilon 1,2,4,8 --sampling-rate 0.01 --num-steps 10000 --delta 1e-5

  dpjax data list

  dpjax models list

  dpjax results show results/quickstart

  dpjax plot results/quickstart

  dpjax status results/quickstart

  dpjax report results/quickstart

Sweeps are run by: uv run python -m experiments.run -m experiment=quickstart

[bold]Words[/bold]

  [bold]unit[/bold]: what is protected, one example, one user or one client of a federation.

  [bold]adjacency[/bold]: which two data sets must be hard to tell apart: one unit or zero in its place, one more or
  less, or one replaced.

  [bold]noise multiplier[/bold]: standard deviation of the noise on a step's sum, divided by the clip norm.

  [bold]ε, δ[/bold]: how far apart the two may be; a smaller ε is more private, δ stays well below 1/population.
"""


class LazyGroup(TyperGroup):
    """A group whose commands are imported when they are called; until then a stub shows their summary."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self._lazy = dict(_COMMANDS)
        self._add_stubs()

    def list_commands(self, ctx: Any) -> list[str]:
        self._discover()
        return list(self._lazy)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self._lazy:
            self._discover()
        if args and args[0] in self._lazy:
            self.commands[args[0]] = _load(args[0], self._lazy[args[0]].target)
        return super().resolve_command(ctx, args)

    def _discover(self) -> None:
        from importlib.metadata import entry_points

        for entry_point in entry_points(group=_GROUP):
            owner = entry_point.dist.name if entry_point.dist else "another package"
            summary = _KNOWN_SUMMARIES.get(entry_point.name, f"Provided by {owner}.")
            self._lazy.setdefault(entry_point.name, Command(entry_point.value, summary))
        self._add_stubs()

    def _add_stubs(self) -> None:
        for name, command in self._lazy.items():
            self.commands.setdefault(name, TyperCommand(name, help=command.summary))


app = typer.Typer(cls=LazyGroup, help=_HELP, no_args_is_help=True, rich_markup_mode="rich", add_completion=False)


def _print_version(wanted: bool) -> bool:
    if wanted:
        from dpjax._version import __version__

        typer.echo(f"dpjax {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", "-V", help="Print the version and exit.", is_eager=True, callback=_print_version),
    ] = False,
) -> None:
    """What is shared by all commands."""


def run(arguments: Sequence[str]) -> int:
    """Runs the words after ``dpjax``.

    Formal guarantees: prints one sentence on stderr for what the user got wrong: a flag, a file, a value that the
    library refuses. Everything else is a bug and keeps its traceback.

    Args:
      arguments: the words.

    Returns:
      The exit status: 0, 1 for a refusal, 2 for a misuse of the flags, 130 for Ctrl-C, 143 for SIGTERM.

    Example:
      >>> run(["epsilon", "--noise-multiplier", "4", "--sampling-rate", "0.25", "--num-steps", "100", "--delta", "1e-5",
      ...      "--accountant", "rdp"])
      RDP  ε = 2.9353
      (ε=2.94 RDP, δ=1e-5)-DP per example, zero_out, Poisson q=0.25, 100 steps; tuning not accounted
      0
    """
    from dpjax.cli import early_stop
    from dpjax.cli.other_options import latex_either_way
    from dpjax.cli.stopping import heard, status_of
    from dpjax.results.errors import ResultsError

    command = typer.main.get_command(app)
    invoke = command.invoke

    def interrupted(ctx: Any) -> Any:
        early_stop.over()
        try:
            with heard():
                return invoke(ctx)
        except KeyboardInterrupt as stop:  # of which typer would say nothing
            stops.append(stop)
            raise typer.Abort from None

    command.invoke = interrupted
    stops: list[KeyboardInterrupt] = []
    try:
        arguments = latex_either_way(arguments)
        status = command.main(args=list(arguments), prog_name="dpjax", standalone_mode=False)
    except TyperException as error:
        if type(error).__name__ != "NoArgsIsHelpError":  # it has shown the help already
            path = getattr(getattr(error, "ctx", None), "command_path", None) or _called(command, arguments)
            _lead_to_longer(error)
            hint = _hint(error)
            sentence = _with_value(error.format_message().replace("Value error, ", "").rstrip(".?"), arguments)
            return _refuse(f"{sentence}{hint}; see {path} --help", error.exit_code)
        return error.exit_code
    except (typer.Abort, KeyboardInterrupt) as error:
        stop = next(iter(stops), error if isinstance(error, KeyboardInterrupt) else KeyboardInterrupt())
        kept = _KEPT.get(next(iter(arguments), ""), "no file is half-written")
        return _say(f"stopped: {kept}; run the same command again to go on", status_of(stop))
    except (ResultsError, ValueError, OSError) as error:
        if os.environ.get("DPJAX_TRACEBACK"):
            raise
        sentence = " ".join(str(error).split()) or type(error).__name__
        return _refuse(flagged(sentence, _options(command, arguments)), 1)
    return status if isinstance(status, int) else 0


def flagged(message: str, options: Collection[str]) -> str:
    """A library's sentence in the words of the command line: its arguments become flags, where the command has them.

    Args:
      message: such as ``noise_multiplier=-1 must be ...``.
      options: of the command.

    Example:
      >>> flagged("sampling_rate=2 with sampling='full'; set epsilon=1", {"--sampling-rate", "--sampling"})
      "--sampling-rate 2 with --sampling 'full'; set epsilon=1"
    """
    known = [name for name in _FLAGS if f"--{name.replace('_', '-')}" in options]
    if not known:
        return message
    return re.sub(
        rf"(?<![.\w])({'|'.join(known)})( is |=)",
        lambda match: f"--{match[1].replace('_', '-')}{match[2].replace('=', ' ')}",
        message,
    )


_FLAGS = (
    "unit",
    "records_per_unit",
    "adjacency",
    "sampling",
    "sampling_rate",
    "noise_multiplier",
    "num_steps",
    "population",
    "epsilon",
    "delta",
    "accountant",
)


def _lead_to_longer(error: Any) -> None:
    """A flag that was cut short means one that begins so, before any that only looks alike."""
    name, context = getattr(error, "option_name", None), getattr(error, "ctx", None)
    if name is None or context is None:
        return
    error.possibilities = sorted(flag for flag in _flags_of(context) if flag.startswith(name)) or error.possibilities


def _flags_of(context: Any) -> list[str]:
    return [flag for each in context.command.params for flag in (*each.opts, *each.secondary_opts)]


def _hint(error: Any) -> str:
    """What an option that a command does not have means in the words of the field, before any that looks alike."""
    from dpjax.cli.other_options import meant_by

    name, context = getattr(error, "option_name", None), getattr(error, "ctx", None)
    if type(error).__name__ != "NoSuchOption" or name is None or context is None:
        return ""
    meant = meant_by(name, _flags_of(context))
    if meant:
        error.possibilities = []
    return f": {meant}" if meant else ""


def _called(command: Any, arguments: Sequence[str]) -> str:
    """The command that the first words name, where an error does not say whose it is."""
    path = ["dpjax"]
    for word in arguments:
        command = getattr(command, "commands", {}).get(word)
        if command is None:
            break
        path.append(word)
    return " ".join(path)


def _options(command: Any, arguments: Sequence[str]) -> set[str]:
    """The options of the command that the first words name."""
    for word in arguments:
        if (below := getattr(command, "commands", {}).get(word)) is None:
            break
        command = below
    return {flag for each in command.params for flag in (*each.opts, *each.secondary_opts)}


def _with_value(sentence: str, arguments: Sequence[str]) -> str:
    # "Invalid value for '--delta': ..." does not say which value, if it is no number.
    match = re.search(r"Invalid value for '(--[\w-]+)'", sentence)
    following = [b for a, b in itertools.pairwise(arguments) if match and a == match[1]]
    if match is None or not following or repr(following[-1]) in sentence:
        return sentence
    return sentence.replace(match[0], f"{match[0]}: {following[-1]!r}", 1)


def _load(name: str, target: str) -> Any:
    module, _, attribute = target.partition(":")
    try:
        opened = getattr(import_module(module), attribute)
    except ImportError as error:
        raise TyperException(f"dpjax {name} cannot be loaded ({error}): install dpjax with all its folders") from error
    if not isinstance(opened, typer.Typer):
        wrapped = typer.Typer(add_completion=False, rich_markup_mode="rich")
        # Rich keeps a docstring's line breaks, which are ours and not the terminal's.
        text = re.sub(r"(?<!\n)\n(?!\n)\s*", " ", inspect.getdoc(opened) or "")
        wrapped.command(name, help=text)(opened)
        opened = wrapped
    else:
        opened._add_completion = False
    command = typer.main.get_command(opened)
    command.name = name
    return command


_KEPT = {
    "keys": "every sealed file opens, and those that were given a key keep it",
    "plot": "the figures that are drawn are kept, and no file is half-written",
    "data": "files that are fetched whole are kept, and nothing half-written",
    "models": "files that are fetched whole are kept, and nothing half-written",
}
"""What is left of a command that was asked to end; of the others no more than that what is written is whole."""


def _refuse(sentence: str, status: int) -> int:
    return _say(f"error: {sentence}", status)


def _say(sentence: str, status: int) -> int:
    print(sentence, file=sys.stderr)
    return status
