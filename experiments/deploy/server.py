"""The server of a deployed federation: it draws cohorts, asks, waits, refuses, and steps with what arrived in time."""

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from jaxtyping import PyTree

from dpjax.federated.aggregation.parties import PublicKeys, rebuild
from dpjax.federated.remote import Uncovered, received_sum, uncovered, uncovered_sum
from dpjax.population import Population, weigh_units
from dpjax.sampling import draw_cohort
from dpjax.steps import StepReport, TrainState, make_stepper
from dpjax.types import Cohort
from experiments.config import ConfigError
from experiments.deploy.answers import boxes_in, opened_in, vector_in, words_in
from experiments.deploy.federation import Federation, Keys, message_like, rehearsed_keys
from experiments.deploy.keys import public_line
from experiments.deploy.letters import PROTOCOL, Letter, LetterError, Post, asked, packed, signed_part
from experiments.federated import make_aggregation
from experiments.privacy import make_privatizer


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


class Ended(NamedTuple):
    """How a run ended.

    Attributes:
      state: after its last round.
      reports: of each round.
      evaluations: (rounds done, what was evaluated), on the way and at the end; empty without test rows.
      accounts: of each client.
      aborted: rounds that were given up.
      seconds: of each round.
    """

    state: TrainState
    reports: list[StepReport]
    evaluations: list[tuple[int, Any]]
    accounts: list[Account]
    aborted: int
    seconds: list[float]


def fresh_keys(seed: int) -> Keys:
    """Keys that nobody can know: of the operating system, but for the first parameters, which are public anyway."""
    drawn = (jax.random.wrap_key_data(jnp.asarray(np.frombuffer(secrets.token_bytes(8), np.uint32))) for _ in range(3))
    return Keys(jax.random.split(jax.random.key(seed), 4)[0], *drawn)


class ServerSide:
    """The rounds of a plan, over whatever carries letters.

    Formal guarantees: those of ``make_stepper``: one noised sum a round, divided by the expected cohort. Who is drawn,
    and the noise, follow from keys of the operating system, or in a rehearsal from the config's seed. Whatever a client
    sends, its part of a plain sum is bounded by the clip norm; what is no answer is counted, and is not in the sum.

    Args:
      federation: made without a client's rows.
      post: carries letters.
      key: the server's private one, whose public one is in the plan.
      seconds: how long a letter may take to be answered.
      evaluate: the parameters → what is reported of them; None: nothing.
      tell: hears ``(rounds done, of how many, line)``.
    """

    def __init__(
        self,
        federation: Federation,
        post: Post,
        key: ec.EllipticCurvePrivateKey,
        *,
        seconds: float,
        evaluate: Callable[[PyTree], Any] | None = None,
        tell: Callable[[int, int, str], None] = lambda done, total, line: None,
    ) -> None:
        self.federation, self.plan, self.post, self.seconds = federation, federation.plan, post, seconds
        self.evaluate, self.tell, self._key = evaluate, tell, key
        if public_line(key).split()[:2] != self.plan.server.key.split()[:2]:
            raise ConfigError("key: its public key is not that of the plan's server; give the coordinator's own.")
        self.accounts = [Account() for _ in self.plan.clients]
        self.session = secrets.token_bytes(16)
        self.keys = rehearsed_keys(self.plan.cfg) if self.plan.rehearsal else fresh_keys(self.plan.cfg.seed)
        self.greeted: set[int] = set()
        self.silent: set[int] = set()
        self.published: dict[int, Letter] = {}

    def greet(self, seconds: float | None = None) -> set[int]:
        """Say hello to everybody who is connected and has not answered yet; who may be asked then."""
        self._hear_late()
        new = self.post.present() - self.greeted
        hello = {"plan": self.plan.digest, "session": self.session, "protocol": PROTOCOL}
        self._send(dict.fromkeys(new, Letter("hello", 0, hello)))
        for number, letter in self._collect(new - self.silent, seconds or self.seconds).items():
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
            if self.federation.is_secure:
                self._publish(number, letter)
        except LetterError as error:
            self.accounts[number].refuse(str(error))
            return
        self.greeted.add(number)
        self.silent.discard(number)

    def _publish(self, number: int, letter: Letter) -> None:
        """Keep the keys that a client has for its next round."""
        for name in ("mask", "channel", "signature"):
            asked(letter, name, bytes)
        asked(letter, "count", int)
        self.published[number] = letter

    def run(self) -> Ended:
        """All rounds; then everybody is told the end."""
        state, reports, evaluations, seconds, aborted = self._start(), [], [], [], 0
        steps, every = self.plan.cfg.optimizer.num_steps, self.plan.cfg.optimizer.evaluate_every
        for step in range(steps):
            began = time.monotonic()
            state, report, released = self._one_round(state, step)
            reports.append(report)
            aborted += not released
            if self.evaluate is not None and ((step + 1) % every == 0 or step + 1 == steps):
                evaluations.append((step + 1, jax.device_get(self.evaluate(state.params))))
            seconds.append(time.monotonic() - began)
            self.tell(step + 1, steps, self._line(step, report, released))
        self._say_done(state)
        self._hear_late()
        return Ended(state, reports, evaluations, self.accounts, aborted, seconds)

    def _line(self, step: int, report: StepReport, released: bool) -> str:
        arrived = int(report.cohort_size)
        return f"round {step + 1}: {arrived} clients" if released else f"round {step + 1}: given up, too few answered"

    @cached_property
    def _weighted(self) -> Any:
        numbers = jnp.arange(len(self.plan.clients), dtype=jnp.int32)
        return weigh_units(Population(numbers, weights=self.plan.weights), self.federation.setup.sampler)

    @cached_property
    def _stepper(self) -> Any:
        federation, setup = self.federation, self.federation.setup
        solver, outer = federation.solver(), federation.outer
        if federation.is_secure:
            noise = federation.hparams.noise_multiplier if federation.shares_noise else None
            bounded = uncovered_sum(levels=federation.levels, message_like=message_like(federation), noise=noise)
        else:
            bounded = received_sum(make_aggregation(self.plan.cfg.federated, self.plan.cfg.privacy, federation.hparams))
        return make_stepper(
            bounded,
            solver.wrap_optimizer(setup.make_optimizer(federation.hparams)),
            outer,
            expected_size=self._weighted.expected_size,
            expected_cohort_size=setup.sampler.expected_cohort_size,
            noise_key=self.keys.noise,
            noise=make_privatizer(setup.mechanism.factorization),
        )

    @cached_property
    def _step(self) -> Any:
        return jax.jit(self._stepper.step)

    def _start(self) -> TrainState:
        federation, setup = self.federation, self.federation.setup
        solver = federation.solver()
        params = solver.init(setup.problem.init(setup.arrays.frozen, self.keys.init))
        noised = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), message_like(federation))
        return self._stepper.init(params, noised, ())

    def _drawn(self, step: int) -> dict[int, int]:
        """Slot → number of the client in it."""
        sampler = self.federation.setup.sampler
        cohort, _ = draw_cohort(sampler, self.keys.sampling, step, jnp.arange(sampler.population, dtype=jnp.int32))
        filled = np.flatnonzero(np.asarray(cohort.mask))
        return {int(slot): int(np.asarray(cohort.units)[slot]) for slot in filled}

    def _one_round(self, state: TrainState, step: int) -> tuple[TrainState, StepReport, bool]:
        drawn = self._drawn(step)
        for number in drawn.values():
            self.accounts[number].asked += 1
        here = self.greet()
        cohort = {slot: number for slot, number in drawn.items() if number in here}
        turn = self._covered if self.federation.is_secure else self._plain
        units, arrived, released = turn(state, step, cohort)
        for slot in arrived:
            self.accounts[drawn[slot]].answered += 1
        slots = self.federation.setup.sampler.capacity
        mask = np.zeros(slots, bool)
        mask[list(arrived)] = True
        index = np.zeros(slots, np.int32)
        index[list(drawn)] = list(drawn.values())
        factors = None if self._weighted.factors is None else self._weighted.factors[index]
        weights = None if self.federation.is_secure else factors
        key = jax.random.fold_in(self.keys.contributions, step)
        state, report = self._step(state, Cohort(units, jnp.asarray(mask), weights), jnp.asarray(index), key)
        return state, jax.device_get(report), released

    # ---- messages that the server sees

    def _plain(self, state: TrainState, step: int, cohort: Mapping[int, int]) -> tuple[PyTree, set[int], bool]:
        like = message_like(self.federation)
        arrays = packed(state.params)
        self._send({n: Letter("train", step, self._greeting(slot), arrays) for slot, n in cohort.items()})
        answers = self._collect(set(cohort.values()), self.seconds)
        slots = self.federation.setup.sampler.capacity
        units = jax.tree.map(lambda x: np.zeros((slots, *x.shape), x.dtype), like)
        arrived: set[int] = set()
        for slot, number in cohort.items():
            vector = self._read(number, answers, "train", partial(vector_in, like=like))
            if vector is None:
                continue
            for rows, row in zip(jax.tree.leaves(units), jax.tree.leaves(vector), strict=True):
                rows[slot] = row
            finite = all(bool(np.isfinite(row).all()) for row in jax.tree.leaves(vector))
            self.accounts[number].not_finite += not finite or answers[number].says.get("finite") == 0
            arrived.add(slot)
        return jax.tree.map(jnp.asarray, units), arrived, True

    # ---- messages of which it sees the sum

    def _covered(self, state: TrainState, step: int, cohort: Mapping[int, int]) -> tuple[PyTree, set[int], bool]:
        federation, bits = self.federation, self.plan.cfg.federated.bits
        size = sum(x.size for x in jax.tree.leaves(message_like(federation)))
        nothing = Uncovered(jnp.zeros((1, size), jnp.int32), jnp.zeros(1, bool), jnp.zeros(1, jnp.int32))
        least = federation.threshold
        cohort = {slot: number for slot, number in cohort.items() if number in self.published}
        letters = {slot: self.published.pop(number) for slot, number in cohort.items()}
        # Whoever has used its keys up without opening them is greeted anew.
        self.greeted -= set(cohort.values())
        if len(cohort) < least:
            return nothing, set(), False
        published = {slot: PublicKeys(x.says["mask"], x.says["channel"]) for slot, x in letters.items()}
        listed = {
            "slots": list(cohort),
            "numbers": list(cohort.values()),
            "counts": [x.says["count"] for x in letters.values()],
            "masks": [keys.mask for keys in published.values()],
            "channels": [keys.channel for keys in published.values()],
            "signatures": [x.says["signature"] for x in letters.values()],
        }
        sealed = self._turn(
            "shares", step, cohort, lambda slot: listed | self._greeting(slot), partial(boxes_in, to=set(cohort))
        )
        if len(sealed) < least:
            return nothing, set(), False
        arrays = packed(state.params)

        def delivered(slot: int) -> dict[str, Any]:
            senders = [u for u in sealed if u != slot]
            return self._greeting(slot) | {"from": senders, "sealed": [sealed[u][slot] for u in senders]}

        sharing = {slot: cohort[slot] for slot in sealed}
        words = self._turn("upload", step, sharing, delivered, partial(words_in, bits=bits, size=size), arrays)
        if len(words) < least:
            return nothing, set(), False
        arrived, lost = sorted(words), sorted(set(sharing) - set(words))
        says = {"arrived": arrived, "lost": lost}
        opening = {slot: cohort[slot] for slot in arrived}
        opened = self._turn(
            "open",
            step,
            opening,
            lambda slot: says | self._greeting(slot),
            partial(opened_in, arrived=arrived, lost=lost),
        )
        for slot in opened:  # with keys for the next round
            self.greeted.add(cohort[slot])
        shares = {slot: each for slot, (each, _) in opened.items()}
        for slot, (_, letter) in opened.items():
            self._publish(cohort[slot], letter)
        try:
            rebuilt = rebuild(shares, published, arrived, lost, least)
        except ValueError as error:
            for slot in shares:
                self.accounts[cohort[slot]].refuse(f"among those whose shares do not fit: {error}")
            return nothing, set(), False
        if rebuilt is None:
            return nothing, set(), False
        total = np.zeros(size, np.uint32)
        bad = 0
        for slot in arrived:
            vector, finite = words[slot]
            total = total + vector
            bad += not finite
            self.accounts[cohort[slot]].not_finite += not finite
        numbers = jnp.asarray(uncovered(total, rebuilt, bits))[None]
        return Uncovered(numbers, jnp.ones(1, bool), jnp.full(1, bad, jnp.int32)), set(arrived), True

    def _turn(
        self,
        kind: str,
        step: int,
        to: Mapping[int, int],
        says: Callable[[int], Mapping[str, Any]],
        read: Callable[[Letter], Any],
        arrays: list[np.ndarray] | tuple[()] = (),
    ) -> dict[int, Any]:
        """One letter to each, and what those who answered say."""
        self._send({number: Letter(kind, step, says(slot), arrays) for slot, number in to.items()})
        answers = self._collect(set(to.values()), self.seconds)
        found = {slot: self._read(number, answers, kind, read) for slot, number in to.items()}
        return {slot: value for slot, value in found.items() if value is not None}

    # ---- letters

    def _greeting(self, slot: int) -> dict[str, Any]:
        return {"session": self.session, "slot": slot}

    def _send(self, letters: Mapping[int, Letter]) -> None:
        signed = {number: self._signed(number, letter) for number, letter in letters.items()}
        for number, letter in signed.items():
            self.accounts[number].down += letter.size
        self.post.send(signed)

    def _signed(self, number: int, letter: Letter) -> Letter:
        signature = self._key.sign(signed_part(letter, number), ec.ECDSA(SHA256()))
        return letter._replace(says={**letter.says, "signed": signature})

    def _collect(self, numbers: set[int], seconds: float) -> dict[int, Letter]:
        answers = self.post.collect(numbers, seconds)
        for number in numbers - set(answers):
            self.accounts[number].missed += 1
            self.silent.add(number)  # nobody waits for it again before it has answered
            self.greeted.discard(number)
        for number, letter in answers.items():
            self.accounts[number].up += letter.size
        return answers

    def _hear_late(self) -> None:
        for number, letter in self.post.late():
            self.accounts[number].up += letter.size
            if letter.kind == "hello":
                self._welcome(number, letter)
            else:
                self.accounts[number].late += 1
                self.silent.discard(number)

    def _read(self, number: int, answers: Mapping[int, Letter], kind: str, read: Callable[[Letter], Any]) -> Any:
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

    def _say_done(self, state: TrainState) -> None:
        says = {"session": self.session, "claim": self.federation.claim}
        here = self.post.present()
        self._send(dict.fromkeys(here, Letter("done", self.plan.cfg.optimizer.num_steps, says, packed(state.params))))
        self._collect(here - self.silent, self.seconds)
