"""What went wrong and what to do about it, in one sentence."""

import errno
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from dpjax.checks import nearest
from dpjax.results import ResultsError
from experiments.fields import describe, types
from experiments.other_names import OTHER_NAMES

_OUT_OF_DISK = (errno.ENOSPC, errno.EDQUOT)
_NO_BACKEND = re.compile(r"Unable to initialize backend '([^']*)'")
_IN_CALLBACK = re.compile(r"allback error.*\n[\w.]*ArrowFileError: (.+)", re.DOTALL)
_OUT_OF_MEMORY = re.compile("RESOURCE_EXHAUSTED|out of memory|Unable to allocate", re.IGNORECASE)


def is_expected(error: BaseException) -> bool:
    """Whether a sentence says all there is to say; anything else is a bug and deserves its traceback."""
    known = (HydraException, OmegaConfBaseException, ValueError, ResultsError, OSError, MemoryError)
    said = (_OUT_OF_MEMORY, _NO_BACKEND, _IN_CALLBACK)
    return isinstance(error, known) or any(pattern.search(str(error)) for pattern in said)


def is_refusal(error: Exception) -> bool:
    """Whether a ledger refused a run, which has not failed then; asked without importing it."""
    return getattr(error, "is_refusal", False)


def is_disk_full(error: BaseException | None) -> bool:
    """Whether a file could not be written for want of space, so that the next one can't be either."""
    return any(isinstance(e, OSError) and e.errno in _OUT_OF_DISK for e in (error, getattr(error, "__cause__", None)))


@contextmanager
def plainly_warned() -> Iterator[None]:
    """Warnings that are meant for users are printed as their sentence, without a line of code."""
    before = warnings.formatwarning

    def plain(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> str:
        return f"warning: {message}\n" if category is UserWarning else before(message, category, *where, **more)

    warnings.formatwarning = plain
    try:
        yield
    finally:
        warnings.formatwarning = before


def explain(error: BaseException | None) -> str:
    """An error as one sentence that names the field and the fix; never empty, never more than a line.

    Args:
      error: anything that a run or a sweep can raise.

    Example:
      >>> explain(ValueError("privacy.epsilon=0 must be > 0."))
      'privacy.epsilon=0 must be > 0.'
      >>> explain(OSError(28, "No space left on device", "results/a"))
      'the disk of results/a is full; free some space and run the same command again, finished jobs are skipped.'
    """
    if error is None:
        return "no reason was given."
    if match := _IN_CALLBACK.search(str(error)):  # JAX's error, with a traceback in it
        return " ".join(match[1].split())
    text = _flat(error)
    if match := _NO_BACKEND.search(text):
        return f"JAX_PLATFORMS={match[1]} names no device that JAX finds here; leave it out, or set it to cpu."
    if match := re.search(r"invalid literal for int\(\) with base 10: '(\w+)'", text):
        return f"an item of a list is set by its number, which {match[1]!r} is not; give the whole list, as [64,32]."
    if isinstance(error, (HydraException, OmegaConfBaseException)):
        return _of_the_config(error, text)  # before OSError, as a missing config is both
    if isinstance(error, OSError):
        return _of_the_disk(error)
    if isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(text):
        return "memory ran out; run fewer lanes at once with lanes=map, or set a smaller microbatch_size."
    return text


def _of_the_disk(error: OSError) -> str:
    where = error.filename or "results_dir"
    if is_disk_full(error):
        return (
            f"the disk of {where} is full; free some space and run the same command again, finished jobs are skipped."
        )
    reason = error.strerror or _flat(error)
    return f"{where} can't be used ({reason}); give a folder that can be written as results_dir=FOLDER."


def _of_the_config(error: BaseException, text: str) -> str:
    cause = _flat(error.__cause__) if error.__cause__ is not None else text
    whole = f"{text} {cause}"
    if match := re.search(r"Interpolation key '([^']*)' not found", whole):
        return f"${{{match[1]}}}: {no_field(match[1])}"
    if "Recursive interpolation" in whole:
        return "a field is given as itself, by ${...}; give it a value."
    if match := re.search(r"Unsupported interpolation type (\S+)", whole):
        return f"${{{match[1]}:...}} asks for what dpjax does not know; give the field a value."
    if match := re.search(r"raised while resolving interpolation: (.+?)(?: full_key|$)", whole):
        return f"${{...}} can't be looked up ({match[1]}); give the field a value."
    if match := re.search(r"unexpected keyword argument '(\w+)'.* full_key: (\S+)", whole):
        return no_field(f"{match[2]}.{match[1]}")
    if match := re.search(r"Could not override '([^']+)'", text):
        return no_field(match[1])
    if match := re.search(r"Key '[^']*' not in '\w+' full_key: (\S+)", whole):
        return no_field(match[1])
    if match := re.search(
        r"Could not find '([\w/]+)/([^']*)'(?: Available options in '[^']+': (.+?) Config search)?", text
    ):
        options = (match[3] or "").split()
        if _is_in_table(match[1], match[2], options):
            return f"{match[1]}={match[2]} is no file of settings; write {match[1]}.name={match[2]}."
        apart = f" To call a sweep {match[2]}, write name={match[2]}." if match[1] == "experiment" else ""
        return (
            f"{match[1]}={match[2]} is not there; {_nearest(match[2], options, 'use ' + ' or '.join(options))}{apart}"
        )
    if "Config group override must be" in text:
        return (
            "a group is chosen by the name of a file, as model=mlp or experiment=quickstart, not by a number or null."
        )
    if match := re.search(r"Ambiguous value for argument '([^']+)'", text):
        return f"{match[1]} has several values, which makes a sweep; add -m to run it."
    if match := re.search(
        r"does not support deletion.* full_key: (\S+)|Could not delete from config.*?'([^']+)'", whole
    ):
        return f"{match[1] or match[2]} can't be taken away, as every field is needed; give it a value."
    if match := re.search(r"field '([^']+)' is not Optional", whole):
        return f"{match[1]}=null has the wrong type; give it a value."
    if match := re.search(r"full_key: (\S+)", whole):
        if match[1] == "data.path":  # of several files
            return (
                "data.path is one path; put the files in a folder, as train and test or x.npy and y.npy, and name "
                "that, or use a pattern, as 'visits-*.csv'."
            )
        conversion = re.search(r"Value '(.*?)' of type '\w+' could not be converted to (\w+)", whole)
        if conversion:
            kind = {"Float": "a number", "Integer": "a whole number"}.get(conversion[2], f"a {conversion[2].lower()}")
            return f"{match[1]}={conversion[1]} has the wrong type; give {kind}."
        if types().get(match[1]) in (list, dict):
            return must_be(match[1])
        return f"{match[1]} has a value of the wrong type ({cause.split(' full_key')[0]}); see --help for the fields."
    if match := re.match(r"(.+?) See https://hydra.cc/\S+ for details", text):
        return _unreadable(match[1])
    return text


def _unreadable(said: str) -> str:
    """A sentence about an override that Hydra's parser refused, which speaks of tokens and of its own exceptions."""
    named = re.match(r"Error parsing override '(.*?)' (.*)", said) or re.match(r"(?:\w+: )?(.*?)( \^.*)$", said)
    override, why = (named[1], named[2]) if named else ("an empty word" if "<EOF>" in said else said, "")
    if strange := re.search(r"[^\x00-\x7f]", override):
        return f"{override} holds {strange[0]!r} outside of quotes; quote it as \"field='value'\"."
    if reason := re.search(r"while evaluating '.*?': (.*)", why):
        return f"{override} can't be read ({reason[1]}); give it one or more values."
    return (
        f"{override} can't be read; write overrides as field=value, and quote what a shell would read: "
        "'model.hidden=[64,32]'."
    )


def must_be(path: str) -> str:
    """Say what a field that holds several values must be.

    Example:
      >>> must_be("model.hidden")
      "model.hidden must be a list; write it in brackets and quotes, as 'model.hidden=[A,B]'."
    """
    kind, form = ("list", "[A,B]") if types()[path] is list else ("mapping", "{A:B}")
    return f"{path} must be a {kind}; write it in brackets and quotes, as '{path}={form}'."


def no_field(name: str) -> str:
    """Say that a field is not there, and which may have been meant.

    Example:
      >>> no_field("privacy.eps")
      'privacy.eps is no field of the config; did you mean privacy.epsilon?'
    """
    if name.startswith("hydra."):
        return f"{name} can't be set so; see --hydra-help, and write a sweep's axes as privacy.epsilon=1,8."
    fields = [row[0] for row in describe()]
    group, _, word = name.rpartition(".")
    in_a_misspelt_group = group and (nearest(name, fields) or "").endswith(f".{word}")
    if word in OTHER_NAMES and not in_a_misspelt_group:
        return f"{name} is no field of the config; {OTHER_NAMES[word]}."
    return f"{name} is no field of the config; {_nearest(name, fields, 'see --help for all fields')}"


def _nearest(name: str, options: Iterable[str], otherwise: str) -> str:
    near = nearest(name, options)
    return f"did you mean {near}?" if near else f"{otherwise}."


def _is_in_table(group: str, name: str, options: list[str]) -> bool:
    """Whether a data set or a model has that name, though no file of settings has."""
    if group == "data":
        return name in import_module("dpjax.datasets.registry").ENTRIES
    # Models need jax, which takes seconds: not where a file's name is misspelt.
    unlike = nearest(name, options) is None
    return group == "model" and unlike and name in import_module("dpjax.models.registry").MODELS


def _flat(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def report(failures: Sequence[tuple[str, BaseException | None]], num_jobs: int, num_finished: int) -> list[str]:
    """Lines that say what failed in a sweep: each reason once, with the overrides it befell.

    Args:
      failures: (overrides, error) of each job that failed.
      num_jobs: how many jobs the sweep has.
      num_finished: how many of them are finished and on disk.

    Example:
      >>> print(*report([("a=1", ValueError("no a.")), ("a=2", ValueError("no a."))], 3, 1), sep="\\n")
      error: 2 of 3 jobs failed; 1 is finished and on disk.
        no a.
          a=1
          a=2
    """
    reasons: dict[str, list[str]] = {}
    for overrides, error in failures:
        reasons.setdefault(explain(error), []).append(overrides)
    if len(failures) == num_jobs and len(reasons) == 1:
        alike = f" (all {num_jobs} jobs alike)" if num_jobs > 1 else ""
        return [f"error: {next(iter(reasons))}{alike}"]
    done = f"{num_finished} {'is' if num_finished == 1 else 'are'} finished and on disk"
    lines = [f"error: {len(failures)} of {num_jobs} jobs failed; {done}."]
    for reason, befell in reasons.items():
        lines += [f"  {reason}", *(f"    {overrides}" for overrides in befell[:5])]
        if len(befell) > 5:
            lines.append(f"    and {len(befell) - 5} more")
    return lines
