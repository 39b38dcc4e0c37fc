# pyright: reportMissingImports=false
"""Letters as Flower's messages: the server's post over a Grid, and a client as a ClientApp."""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid

from experiments.deploy.client import ClientSide
from experiments.deploy.letters import Letter
from experiments.deploy.plan import Plan

_POLL_SECONDS = 0.2
_GONE = {ErrorCode.NODE_UNAVAILABLE, ErrorCode.REPLY_MESSAGE_UNAVAILABLE, ErrorCode.MESSAGE_UNAVAILABLE}


def as_record(letter: Letter) -> RecordDict:
    """A letter as what a message holds; arrays as bytes, since Flower's know no bfloat16."""
    layout = json.dumps([[str(x.dtype), list(x.shape)] for x in letter.arrays])
    says = {"kind": letter.kind, "step": letter.step, "layout": layout}
    raw = [np.frombuffer(np.ascontiguousarray(x).tobytes(), np.uint8) for x in letter.arrays]
    return RecordDict(
        {
            "letter": ConfigRecord(says | {f"says.{name}": value for name, value in letter.says.items()}),
            "arrays": ArrayRecord({f"{i:06d}": Array(x) for i, x in enumerate(raw)}),
        }
    )


def as_letter(record: RecordDict) -> Letter:
    """The letter in a message.

    Raises:
      ValueError: there is none.
    """
    try:
        says, arrays = record["letter"], record["arrays"]
        if not isinstance(says, ConfigRecord) or not isinstance(arrays, ArrayRecord):
            raise TypeError("other records")
        kind, step, layout = says["kind"], says["step"], json.loads(str(says["layout"]))
        if not isinstance(kind, str) or type(step) is not int:
            raise TypeError("other fields")
        values: dict[str, Any] = {name.removeprefix("says."): v for name, v in says.items() if name.startswith("says.")}
        raw = [arrays[name].numpy().tobytes() for name in sorted(arrays)]
        read = [
            np.frombuffer(x, jnp.dtype(dtype)).reshape(shape) for x, (dtype, shape) in zip(raw, layout, strict=True)
        ]
        return Letter(kind, step, values, read)
    except Exception as error:  # anybody's bytes
        raise ValueError(f"it sent a message that holds no letter ({type(error).__name__})") from error


def client_app(side: ClientSide) -> ClientApp:
    """A client as Flower's app: every message is a letter."""
    app = ClientApp()

    @app.query()
    def answer(message: Message, context: Context) -> Message:
        del context
        return Message(as_record(side.answer(as_letter(message.content))), reply_to=message)

    return app


class FlowerPost:
    """Letters over a Grid, between the server and those nodes whose key is in the plan.

    Args:
      grid: Flower's.
      plan: whose clients they are.
      refused: keys that the SuperLink has refused, as far as its log says.
    """

    def __init__(self, grid: Grid, plan: Plan, refused: Callable[[], dict[str, str]] = dict) -> None:
        self.grid, self.plan, self._refused = grid, plan, refused
        self._numbers = {member.pem.strip(): i for i, member in enumerate(plan.clients)}
        self._nodes: dict[int, int] = {}
        self._open: dict[str, int] = {}
        self._latest: dict[int, str] = {}
        self._early: dict[int, Letter | None] = {}
        self._late: list[tuple[int, Letter]] = []
        self._strange: dict[str, str] = {}

    def present(self) -> set[int]:
        here: set[int] = set()
        for node in self.grid.get_nodes():
            key = _text(node.public_key)
            number = self._numbers.get(key)
            if number is None:
                self._strange[key] = "connected, and not in the plan: nothing was sent to it"
                continue
            if node.status == "online":
                self._nodes[number] = node.node_id
                here.add(number)
        return here

    def send(self, letters: Mapping[int, Letter]) -> None:
        known = {number: letter for number, letter in letters.items() if number in self._nodes}
        messages = [Message(as_record(letter), self._nodes[number], "query") for number, letter in known.items()]
        if not messages:
            return
        for number, name in zip(known, self.grid.push_messages(messages), strict=True):
            self._early.pop(number, None)
            if name is None:  # the node is gone
                self._early[number] = None
                continue
            self._open[name], self._latest[number] = number, name

    def collect(self, numbers: set[int], seconds: float) -> dict[int, Letter]:
        ends = time.monotonic() + seconds
        while True:
            self._pull()
            if numbers <= set(self._early) or time.monotonic() >= ends:
                break
            time.sleep(_POLL_SECONDS)
        found = {number: self._early.pop(number) for number in numbers if number in self._early}
        for number in numbers - set(found):
            self._latest.pop(number, None)  # whatever comes now is late
        return {number: letter for number, letter in found.items() if letter is not None}

    def late(self) -> list[tuple[int, Letter]]:
        self._pull()
        heard, self._late = self._late, []
        return heard

    def strangers(self) -> dict[str, str]:
        refused = {key: what for key, what in self._refused().items() if key not in self._numbers}
        return refused | self._strange

    def _pull(self) -> None:
        if not self._open:
            return
        for message in self.grid.pull_messages(list(self._open)):
            name = message.metadata.reply_to_message_id
            number = self._open.pop(name, None)
            if number is None:
                continue
            letter = _letter_in(message)
            if self._latest.get(number) == name:
                self._early[number] = letter
            elif letter is not None:
                self._late.append((number, letter))


def _text(key: bytes | str) -> str:
    """A key in PEM; Flower says it as bytes."""
    return (key.decode() if isinstance(key, bytes) else key).strip()


def _letter_in(message: Message) -> Letter | None:
    """What a client said; None where the network says that it is gone."""
    if message.has_error():
        if message.error.code in _GONE:
            return None
        return Letter("refused", 0, {"why": f"its app failed: {message.error.reason}"[:300]})
    try:
        return as_letter(message.content)
    except ValueError as error:
        return Letter("refused", 0, {"why": str(error)})
