"""The server's side of every letter: who was greeted, who is waited for, whose answer is refused, and how often."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from experiments.config import ConfigError
from experiments.deploy.keys import public_line
from experiments.deploy.letters import PROTOCOL, Letter, LetterError, Post, asked, signed_part
from experiments.deploy.plan import Plan


@dataclass
class Account:
    """What became of one client, counted.

    Attributes:
      asked, answered: rounds that it was drawn for, and whose sum it is in.
      missed: letters that it did not answer in time.
      late: answers that came after their time, and were not used.
      refused: why answers of it were not taken, or it would not give one; and how often.
      not_finite: rounds in which what it sent, or learnt, was not finite, and counted as zero.
      up, down: bytes of what it sent, and was sent.
    """

    asked: int = 0
    answered: int = 0
    missed: int = 0
    late: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    not_finite: int = 0
    up: int = 0
    down: int = 0

    def refuse(self, why: str) -> None:
        """Count a refusal."""
        self.refused[why] = self.refused.get(why, 0) + 1


class Correspondence:
    """Letters between the server and the plan's clients, and an account of each.

    Formal guarantees: every letter is signed, for the one client it is for; an answer is read by who asked for it, and
    what does not fit is counted and left out. Who has missed a letter is not waited for again before it has answered.

    Args:
      plan: whose clients they are.
      post: carries letters.
      key: the server's private one, whose public one is in the plan.
      seconds: how long a letter may take to be answered.
      covers: whether clients have keys for each round, with which they cover what they send.

    Raises:
      ConfigError: the key is not the plan's.
    """

    def __init__(
        self, plan: Plan, post: Post, key: ec.EllipticCurvePrivateKey, seconds: float, *, covers: bool
    ) -> None:
        if public_line(key).split()[:2] != plan.server.key.split()[:2]:
            raise ConfigError("key: its public key is not that of the plan's server; give the coordinator's own.")
        self.plan, self.post, self.seconds, self.covers = plan, post, seconds, covers
        self._key = key
        self.session = secrets.token_bytes(16)
        self.accounts = [Account() for _ in plan.clients]
        self.greeted: set[int] = set()
        self.silent: set[int] = set()
        self.published: dict[int, Letter] = {}

    def refusals(self) -> dict[tuple[int, str], int]:
        """(client, why) → how often."""
        return {(i, why): times for i, account in enumerate(self.accounts) for why, times in account.refused.items()}

    def greet(self, seconds: float | None = None) -> set[int]:
        """Say hello to everybody who is connected and has not answered yet; who may be asked then."""
        self.hear_late()
        new = self.post.present() - self.greeted
        hello = {"plan": self.plan.digest, "session": self.session, "protocol": PROTOCOL}
        self.send(dict.fromkeys(new, Letter("hello", 0, hello)))
        slow = new & self.silent
        for number, letter in self.collect(new - slow, seconds or self.seconds).items():
            self._welcome(number, letter)
        for number, letter in self.post.collect(slow, 0.0).items():  # whoever is later is heard as late
            self.accounts[number].up += letter.size
            self._welcome(number, letter)
        return self.greeted & self.post.present()

    def _welcome(self, number: int, letter: Letter) -> None:
        try:
            self._check("hello", letter)
            weights = self.plan.clients[number].records if self.plan.weights is not None else None
            if weights is not None and asked(letter, "records", int) != weights:
                raise LetterError(
                    f"it says that it has {letter.says['records']} rows, and the plan weighs it by {weights}"
                )
            if self.covers:
                self.publish(number, letter)
        except LetterError as error:
            self.accounts[number].refuse(str(error))
            return
        self.greeted.add(number)
        self.silent.discard(number)

    def publish(self, number: int, letter: Letter) -> None:
        """Keep the keys that a client has for its next round."""
        for name in ("mask", "channel", "signature"):
            asked(letter, name, bytes)
        asked(letter, "count", int)
        self.published[number] = letter

    def greeting(self, slot: int) -> dict[str, Any]:
        """What every letter of a round says."""
        return {"session": self.session, "slot": slot}

    def send(self, letters: Mapping[int, Letter]) -> None:
        """Letters to clients, signed."""
        signed = {number: self._signed(number, letter) for number, letter in letters.items()}
        for number, letter in signed.items():
            self.accounts[number].down += letter.size
        self.post.send(signed)

    def _signed(self, number: int, letter: Letter) -> Letter:
        signature = self._key.sign(signed_part(letter, number), ec.ECDSA(SHA256()))
        return letter._replace(says={**letter.says, "signed": signature})

    def collect(self, numbers: set[int], seconds: float) -> dict[int, Letter]:
        """The answers that come in time."""
        answers = self.post.collect(numbers, seconds)
        for number in numbers - set(answers):
            self.accounts[number].missed += 1
            self.silent.add(number)  # nobody waits for it again before it has answered
            self.greeted.discard(number)
        for number, letter in answers.items():
            self.accounts[number].up += letter.size
        return answers

    def hear_late(self) -> None:
        """Take in answers that came after their time: a hello counts, what was for a round does not."""
        for number, letter in self.post.late():
            self.accounts[number].up += letter.size
            if letter.kind == "hello":
                self._welcome(number, letter)
            else:
                self.accounts[number].late += 1
                self.silent.discard(number)

    def read(self, number: int, answers: Mapping[int, Letter], kind: str, read: Callable[[Letter], Any]) -> Any:
        """What a client's answer says; None where there is none, or it is refused."""
        if number not in answers:
            return None
        try:
            self._check(kind, answers[number])
            return read(answers[number])
        except ValueError as error:
            self.accounts[number].refuse(str(error))
            self.greeted.discard(number)
            return None

    @staticmethod
    def _check(kind: str, letter: Letter) -> None:
        if letter.kind == "refused":
            raise LetterError(f"it would not: {asked(letter, 'why', str)[:300]}")
        if letter.kind != kind:
            raise LetterError(f"it answered {kind} with {str(letter.kind)[:20]!r}")

    def turn(
        self,
        kind: str,
        step: int,
        to: Mapping[int, int],
        says: Callable[[int], Mapping[str, Any]],
        read: Callable[[Letter], Any],
        arrays: Sequence[np.ndarray] = (),
    ) -> dict[int, Any]:
        """One letter to each, and what those who answered say."""
        self.send({number: Letter(kind, step, says(slot), arrays) for slot, number in to.items()})
        answers = self.collect(set(to.values()), self.seconds)
        found = {slot: self.read(number, answers, kind, read) for slot, number in to.items()}
        return {slot: value for slot, value in found.items() if value is not None}
