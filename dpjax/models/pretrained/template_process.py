"""The process that renders chat templates: a checkpoint's own program, in a sandbox, with memory for nothing else.

It is run as a script by ``chat_templates``, which ends it when it takes too long, and imports nothing of dpjax.
"""

import json
import sys
from typing import Any

MEMORY_BYTES = 2**30
"""Address space of the process, where the system can bound it."""


def main() -> None:
    """Answers each line of requests with one line, until there are no more.

    The first line has ``path`` (where modules are), ``source`` of the template, ``today`` and ``most_characters``; each
    other ``renderings``: what the template is given. An answer has ``texts`` and ``answers``, or ``error``.
    """
    first = json.loads(sys.stdin.readline())
    sys.path[:] = first["path"]
    _bound_memory()
    try:
        template = _compiled(first["source"], first["today"])
    except Exception as error:
        _say({"error": _sentence(error)})
        return
    _say({})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            texts, answers = [], []
            for given in request["renderings"]:
                text, spans = _rendered(template, given, first["most_characters"])
                texts.append(text)
                answers.append(spans)
            _say({"texts": texts, "answers": answers})
        except Exception as error:
            _say({"error": _sentence(error)})


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _sentence(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return f"it needs more than {MEMORY_BYTES >> 20} MiB"
    lines = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:300]}"


def _bound_memory() -> None:
    try:
        import resource
    except ImportError:  # not on Windows, where time alone bounds it
        return
    try:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    except (ValueError, OSError):  # as on macOS
        return


def _rendered(template: Any, given: dict[str, Any], most: int) -> tuple[str, list[list[int]]]:
    """One rendering, and where its blocks of generation begin and end."""
    parts: list[str] = []
    spans: list[list[int]] = []
    length = 0
    for part in template.generate(**given, **_CONTEXT):
        if isinstance(part, _Answer):
            spans.append([length, length + len(part)])
        parts.append(str(part))
        length += len(part)
        if length > most:
            raise ValueError(f"it writes more than {most:,} characters")
    return "".join(parts), spans


_CONTEXT: dict[str, Any] = {"tools": None, "documents": None}


class _Answer(str):
    """What a block of generation wrote."""


def _compiled(source: str, today: str) -> Any:
    """The template with what ``transformers`` gives to one; the day is given, as a run's numbers must not go by it."""
    import datetime

    from jinja2 import nodes
    from jinja2.exceptions import TemplateError
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """``{% generation %} … {% endgeneration %}``: what the model writes."""

        tags = {"generation"}  # noqa: RUF012 # as Jinja has it

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
            call = self.call_method("_mark", [])
            return nodes.CallBlock(call, [], [], body).set_lineno(line)

        def _mark(self, caller: Any) -> str:
            return _Answer(caller())

    def fail(message: str) -> None:
        raise TemplateError(message)

    def to_json(value: Any, ensure_ascii: bool = False, indent: Any = None, **options: Any) -> str:
        allowed = {key: options[key] for key in ("separators", "sort_keys") if key in options}
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **allowed)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = fail
    day = datetime.date.fromisoformat(today)
    environment.globals["strftime_now"] = lambda form: day.strftime(form)
    return environment.from_string(source)


if __name__ == "__main__":
    main()
