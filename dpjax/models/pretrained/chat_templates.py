"""A checkpoint's chat template: found, and rendered in a process of its own that time and memory bound."""

import json
import subprocess  # nosec B404 # a script of this package
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from dpjax.models.pretrained.tensor_files import CheckpointError, read_json

SECONDS = 10.0
"""What the renderings of one conversation may take."""

START_SECONDS = 60.0
"""What the process may take to begin, on a busy machine too, and to compile the template."""

MOST_CHARACTERS = 4_000_000
"""What one rendering may write."""

TODAY = "2024-07-26"
"""The day that templates are told: the one that Llama's name where none is, so that numbers are the same tomorrow."""

Message = Mapping[str, str]
"""``role`` and ``content``."""


@dataclass(frozen=True)
class ChatTemplate:
    """How a checkpoint writes a conversation.

    Attributes:
      source: the template, in Jinja.
      tokens: names and texts of special tokens that it may use, as ``bos_token`` and ``<s>``.
      where: names it in messages.
    """

    source: str = field(repr=False)
    tokens: tuple[tuple[str, str], ...] = ()
    where: str = "chat template"


class Rendering(NamedTuple):
    """A conversation as its model reads it.

    Attributes:
      text: all of it.
      answers: ``[begin, end)`` in it of what the template itself says that the model writes; None: it does not say.
      before: for each turn of the assistant the text up to where it begins, with what asks the model to write.
      after: for each the text up to its end.
    """

    text: str
    answers: tuple[tuple[int, int], ...] | None
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


def render(template: ChatTemplate, conversations: Sequence[Sequence[Message]]) -> list[Rendering]:
    """Renders conversations as ``transformers`` does, in a sandbox.

    Formal guarantees: a rendering depends on its conversation and the template alone, and not on the day. The template
    runs in Jinja's immutable sandbox, in a process that is ended after ``SECONDS`` of one conversation and, where the
    system can bound it, has 1 GiB; it writes at most ``MOST_CHARACTERS``.

    Args:
      template: of the checkpoint.
      conversations: turns of each.

    Returns:
      One rendering each.

    Raises:
      CheckpointError: a template that fails, takes too long or writes too much; it says at which conversation.

    Example:
      >>> chat = ChatTemplate("{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}")
      >>> render(chat, [[{"role": "user", "content": "hello"}]])[0].text
      '<user>hello'
    """
    with _Process(template) as process:
        return [_one(process, [dict(turn) for turn in turns], row) for row, turns in enumerate(conversations, 1)]


def _one(process: "_Process", turns: list[dict[str, str]], row: int) -> Rendering:
    (text,), (spans,) = process.ask([{"messages": turns, "add_generation_prompt": False}], row)
    if spans:
        return Rendering(text, tuple((begin, end) for begin, end in spans))
    places = [i for i, turn in enumerate(turns) if turn["role"] == "assistant"]
    asked = [{"messages": turns[:i], "add_generation_prompt": True} for i in places]
    asked += [{"messages": turns[: i + 1], "add_generation_prompt": False} for i in places if i + 1 < len(turns)]
    texts = process.ask(asked, row)[0] if asked else []
    after = [*texts[len(places) :], *([text] if places and places[-1] + 1 == len(turns) else [])]
    return Rendering(text, None, tuple(texts[: len(places)]), tuple(after))


class _Process:
    """The process that renders; it is gone when the block ends, whatever the template does."""

    def __init__(self, template: ChatTemplate):
        self._template = template

    def __enter__(self) -> "_Process":
        script = Path(__file__).with_name("template_process.py")
        self._process = subprocess.Popen(  # nosec B603 # this interpreter, on a script of this package
            [sys.executable, "-I", str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
        )
        first = {"path": sys.path, "source": self._template.source, "today": TODAY}
        try:
            self._say(first | {"most_characters": MOST_CHARACTERS}, "at its start", START_SECONDS)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:  # what was not yet written
                    continue

    def ask(self, renderings: Sequence[Mapping[str, Any]], row: int) -> tuple[list[str], list[Any]]:
        """Texts, and the blocks of generation in each."""
        tokens = dict(self._template.tokens)
        question = {"renderings": [tokens | dict(each) for each in renderings]}
        said = self._say(question, f"at conversation {row}", SECONDS)
        return said["texts"], said["answers"]

    def _say(self, question: Mapping[str, Any], when: str, seconds: float) -> dict[str, Any]:
        process, late = self._process, threading.Event()
        assert process.stdin is not None
        assert process.stdout is not None

        def end() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(seconds, end)
        timer.start()
        try:
            process.stdin.write(json.dumps(question) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            timer.cancel()
        if late.is_set():
            raise CheckpointError(
                f"{self._template.where} takes more than {seconds:g} s {when}; take the checkpoint's own, or mend it."
            )
        if not line:
            raise CheckpointError(f"{self._template.where} ends its process {when}; take the checkpoint's own.")
        answer = json.loads(line)
        if "error" in answer:
            reason = answer["error"].rstrip(".")
            raise CheckpointError(f"{self._template.where} fails {when} ({reason}); mend the conversation, or it.")
        return answer


def read_chat_template(folder: Path, config: Mapping[str, Any]) -> ChatTemplate | None:
    """A checkpoint's template: chat_template.jinja, else chat_template.json, else what tokenizer_config.json has.

    Args:
      folder: of the checkpoint.
      config: its tokenizer_config.json.

    Returns:
      The template, of several that are named the one called default; None if it has none.

    Raises:
      CheckpointError: a file that cannot be read, or a template that is no text.
    """
    found: Any = config.get("chat_template")
    file, name = folder / "tokenizer_config.json", "chat_template"
    if (path := folder / "chat_template.json").is_file():
        file = path
        found = read_json(path).get(name)
    if (path := folder / "chat_template.jinja").is_file():
        file = path
        try:
            found = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CheckpointError(f"{path} is damaged ({error}); fetch it again.") from error
    if isinstance(found, list):
        named = {each.get("name"): each.get("template") for each in found if isinstance(each, dict)}
        if "default" not in named:
            raise CheckpointError(
                f"{file}: {name} has {', '.join(map(str, named)) or 'nothing'} and no default; add it."
            )
        found = named["default"]
    if found is None:
        return None
    if not isinstance(found, str):
        raise CheckpointError(f"{file}: {name} is a {type(found).__name__} and must be a text; fetch it again.")
    return ChatTemplate(found, special_texts(config), f"the chat template of {folder.name}")


def special_texts(config: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Special tokens of a tokenizer_config.json by role, whichever way it writes them.

    Args:
      config: as it was read.

    Example:
      >>> special_texts({"bos_token": "<s>", "eos_token": {"content": "</s>"}, "model_max_length": 3})
      (('bos_token', '<s>'), ('eos_token', '</s>'))
    """
    texts = []
    for role in ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"):
        value = config.get(role)
        value = value.get("content") if isinstance(value, dict) else value
        if isinstance(value, str):
            texts.append((role, value))
    return tuple(texts)
