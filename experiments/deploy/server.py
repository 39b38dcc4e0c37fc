"""The server of a deployed federation: it draws cohorts, asks, waits, refuses, and steps with what arrived in time."""

import secrets
import time
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec
from jaxtyping import PyTree

from dpjax.federated.aggregation.parties import PublicKeys, rebuild
from dpjax.federated.remote import Uncovered, received_sum, uncovered, uncovered_sum
from dpjax.population import Population, weigh_units
from dpjax.sampling import draw_cohort
from dpjax.steps import StepReport, TrainState, make_stepper
from dpjax.types import Cohort
from experiments.deploy.answers import boxes_in, opened_in, vector_in, words_in
from experiments.deploy.correspondence import Account, Correspondence
from experiments.deploy.federation import Federation, Keys, message_like, rehearsed_keys
from experiments.deploy.kept import Kept
from experiments.deploy.letters import Letter, Post, packed
from experiments.federated import make_aggregation
from experiments.privacy import make_privatizer


class Ended(NamedTuple):
    """How a run ended.

    Attributes:
      state: after its last round.
      evaluations: (rounds done, what was evaluated), on the way and at the end; empty without test rows.
      accounts: of each client.
      aborted: rounds that were given up.
      seconds: of each round.
    """

    state: TrainState
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
      ready: called before each round, with its number; it returns once enough clients are there. None: nobody waits.
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
        ready: Callable[[int], None] | None = None,
        evaluate: Callable[[PyTree], Any] | None = None,
        tell: Callable[[int, int, str], None] = lambda done, total, line: None,
    ) -> None:
        self.federation, self.plan = federation, federation.plan
        self.ready, self.evaluate, self.tell = ready, evaluate, tell
        self.talk = Correspondence(self.plan, post, key, seconds, covers=federation.is_secure)
        self.keys = rehearsed_keys(self.plan.cfg) if self.plan.rehearsal else fresh_keys(self.plan.cfg.seed)

    def run(self, kept: Kept | None = None) -> Ended:
        """All rounds that are left.

        Args:
          kept: where states are kept; None: nowhere.
        """
        state, first, gone = self._resumed(kept)
        steps, every = self.plan.cfg.optimizer.num_steps, self.plan.cfg.optimizer.evaluate_every
        told = self._told(kept, gone)
        for step in range(first, steps):
            if self.ready is not None:
                self.ready(step)
            began = time.monotonic()
            if kept is not None:
                kept.begin(step)
            before = self.talk.refusals()
            state, report, released = self._one_round(state, step)
            told["aborted"] += not released
            if self.evaluate is not None and ((step + 1) % every == 0 or step + 1 == steps):
                values = jax.tree.map(float, jax.device_get(self.evaluate(state.params)))
                told["evaluations"].append([step + 1, values])
            told["seconds"].append(time.monotonic() - began)
            told["accounts"] = [vars(account) for account in self.talk.accounts]
            if kept is not None:
                kept.done(step, (state, self.keys), told)
            self.tell(step + 1, steps, self._line(step, report, released, before))
        return Ended(state, told["evaluations"], self.talk.accounts, told["aborted"], told["seconds"])

    def _resumed(self, kept: Kept | None) -> tuple[TrainState, int, int]:
        """(state, round to go on with, rounds that were begun and never ended)"""
        state = self._start()
        if kept is None:
            return state, 0, 0
        found = kept.restore((state, self.keys))
        if found is not None:
            state, self.keys = found[0], Keys(*found[1])
        done, begun = kept.told["done"], kept.told["begun"]
        return state, max(done, begun), max(begun - done, 0)

    def _told(self, kept: Kept | None, gone: int) -> dict[str, Any]:
        """What was told of earlier rounds, and goes on."""
        told: dict[str, Any] = {"aborted": 0, "evaluations": [], "seconds": []}
        if kept is not None:
            told |= {name: kept.told[name] for name in told if name in kept.told}
            for account, before in zip(self.talk.accounts, kept.told.get("accounts", ()), strict=False):
                vars(account).update(before)
        told["aborted"] += gone
        return told

    def _line(self, step: int, report: StepReport, released: bool, before: Mapping[tuple[int, str], int]) -> str:
        arrived = int(report.cohort_size)
        clients = f"{arrived} client{'' if arrived == 1 else 's'}"
        line = f"round {step + 1}: {clients}" if released else f"round {step + 1}: given up, too few answered"
        new = {key: count for key, count in self.talk.refusals().items() if count > before.get(key, 0)}
        return line + "".join(f"; {self.plan.clients[number].name}: {why}" for number, why in new)

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
            self.talk.accounts[number].asked += 1
        here = self.talk.greet()
        cohort = {slot: number for slot, number in drawn.items() if number in here}
        turn = self._covered if self.federation.is_secure else self._plain
        units, arrived, released = turn(state, step, cohort)
        for slot in arrived:
            self.talk.accounts[drawn[slot]].answered += 1
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
        self.talk.send({n: Letter("train", step, self.talk.greeting(slot), arrays) for slot, n in cohort.items()})
        answers = self.talk.collect(set(cohort.values()), self.talk.seconds)
        slots = self.federation.setup.sampler.capacity
        units = jax.tree.map(lambda x: np.zeros((slots, *x.shape), x.dtype), like)
        arrived: set[int] = set()
        for slot, number in cohort.items():
            vector = self.talk.read(number, answers, "train", partial(vector_in, like=like))
            if vector is None:
                continue
            for rows, row in zip(jax.tree.leaves(units), jax.tree.leaves(vector), strict=True):
                rows[slot] = row
            finite = all(bool(np.isfinite(row).all()) for row in jax.tree.leaves(vector))
            self.talk.accounts[number].not_finite += not finite or answers[number].says.get("finite") == 0
            arrived.add(slot)
        return jax.tree.map(jnp.asarray, units), arrived, True

    # ---- messages of which it sees the sum

    def _covered(self, state: TrainState, step: int, cohort: Mapping[int, int]) -> tuple[PyTree, set[int], bool]:
        federation, bits = self.federation, self.plan.cfg.federated.bits
        size = sum(x.size for x in jax.tree.leaves(message_like(federation)))
        nothing = Uncovered(jnp.zeros((1, size), jnp.int32), jnp.zeros(1, bool), jnp.zeros(1, jnp.int32))
        least = federation.threshold
        cohort = {slot: number for slot, number in cohort.items() if number in self.talk.published}
        letters = {slot: self.talk.published.pop(number) for slot, number in cohort.items()}
        # Whoever has used its keys up without opening them is greeted anew.
        self.talk.greeted -= set(cohort.values())
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
        sealed = self.talk.turn(
            "shares", step, cohort, lambda slot: listed | self.talk.greeting(slot), partial(boxes_in, to=set(cohort))
        )
        if len(sealed) < least:
            return nothing, set(), False
        arrays = packed(state.params)

        def delivered(slot: int) -> dict[str, Any]:
            senders = [u for u in sealed if u != slot]
            return self.talk.greeting(slot) | {"from": senders, "sealed": [sealed[u][slot] for u in senders]}

        sharing = {slot: cohort[slot] for slot in sealed}
        words = self.talk.turn("upload", step, sharing, delivered, partial(words_in, bits=bits, size=size), arrays)
        if len(words) < least:
            return nothing, set(), False
        arrived, lost = sorted(words), sorted(set(sharing) - set(words))
        says = {"arrived": arrived, "lost": lost}
        opening = {slot: cohort[slot] for slot in arrived}
        opened = self.talk.turn(
            "open",
            step,
            opening,
            lambda slot: says | self.talk.greeting(slot),
            partial(opened_in, arrived=arrived, lost=lost),
        )
        for slot in opened:  # with keys for the next round
            self.talk.greeted.add(cohort[slot])
        shares = {slot: each for slot, (each, _) in opened.items()}
        for slot, (_, letter) in opened.items():
            self.talk.publish(cohort[slot], letter)
        try:
            rebuilt = rebuild(shares, published, arrived, lost, least)
        except ValueError as error:
            for slot in shares:
                self.talk.accounts[cohort[slot]].refuse(f"among those whose shares do not fit: {error}")
            return nothing, set(), False
        if rebuilt is None:
            return nothing, set(), False
        total = np.zeros(size, np.uint32)
        bad = 0
        for slot in arrived:
            vector, finite = words[slot]
            total = total + vector
            bad += not finite
            self.talk.accounts[cohort[slot]].not_finite += not finite
        numbers = jnp.asarray(uncovered(total, rebuilt, bits))[None]
        return Uncovered(numbers, jnp.ones(1, bool), jnp.full(1, bad, jnp.int32)), set(arrived), True

    def say_done(self, state: TrainState) -> None:
        """Tell everybody who is connected that the run has ended, and how.

        Args:
          state: its last.
        """
        says = {"session": self.talk.session, "claim": self.federation.claim}
        here = self.talk.post.present()
        self.talk.send(
            dict.fromkeys(here, Letter("done", self.plan.cfg.optimizer.num_steps, says, packed(state.params)))
        )
        self.talk.collect(here - self.talk.silent, self.talk.seconds)
        self.talk.hear_late()
