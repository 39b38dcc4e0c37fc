"""A client of a deployed federation: it answers letters with what it learnt from its rows, and with nothing else."""

import secrets
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from dpjax.federated.aggregation.discrete import DRAWS
from dpjax.federated.aggregation.parties import SHARE_BYTES, Client, PublicKeys
from dpjax.federated.remote import bytes_of_words, cover, sent_on_grid, sent_plainly
from dpjax.federated.side_keys import Purpose, side_key
from dpjax.types import UnitData
from experiments.config import ConfigError
from experiments.deploy.federation import Federation, carried_like, padded, rehearsed_keys
from experiments.deploy.keys import public_line
from experiments.deploy.ledger import Ledger
from experiments.deploy.letters import PROTOCOL, Letter, LetterError, asked, packed, refused, signed_part, unpacked
from experiments.deploy.rows import Rows


class ClientSide:
    """One client: a plan, its rows, its key, and its ledger.

    Formal guarantees: what leaves it is its name, public keys, sealed shares, and in each round of the plan, once, its
    contribution: clipped by itself; covered by masks where the plan aggregates securely; with noise of its own where
    the plan says that clients add it. It computes nothing but the plan: letters carry parameters and numbers, no code.

    Args:
      federation: made with this client's rows as ``train``.
      key: its private key, whose public one is in the plan.
      ledger: of what it has sent.
      tell: hears one line about each round.

    Raises:
      ConfigError: the key is of nobody in the plan, or there are no rows, or more than the plan has room for.
    """

    def __init__(
        self,
        federation: Federation,
        key: ec.EllipticCurvePrivateKey,
        ledger: Ledger,
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.federation, self.plan, self.ledger, self.tell = federation, federation.plan, ledger, tell
        self._key = key
        mine = public_line(key)
        number = next((i for i, each in enumerate(self.plan.clients) if each.key.split()[:2] == mine.split()[:2]), None)
        if number is None:
            raise ConfigError("key: its public key is none of the plan's clients; send it to the coordinator.")
        self.number, self.name = number, self.plan.clients[number].name
        dataset = federation.setup.problem.dataset
        self.rows = Rows(dataset.train_inputs, dataset.train_labels)
        count = len(self.rows.labels)
        if count == 0:
            raise ConfigError("rows: there are no training rows; give a file that has some.")
        if count > self.plan.most_records:
            raise ConfigError(
                f"rows: there are {count} training rows, and the plan has room for {self.plan.most_records}; ask "
                "the coordinator for a plan with a larger federated.records_per_client."
            )
        known = self.plan.clients[number].records
        if known is not None and known != count:
            raise ConfigError(
                f"rows: there are {count} training rows, and the plan weighs {self.name} by {known}; agree on one."
            )
        self.done: Letter | None = None
        self.session = b""
        self._published = 0
        self._next: Client | None = None
        self._round: tuple[int, Client] | None = None

    def answer(self, letter: Letter) -> Letter:
        """The answer to a letter; one that can't be answered is refused, in one sentence.

        Args:
          letter: from the server, believed in nothing.
        """
        answers = {
            "hello": self._hello,
            "train": self._train,
            "shares": self._share,
            "upload": self._upload,
            "open": self._open,
            "done": self._end,
        }
        try:
            if letter.kind not in answers:
                raise LetterError(
                    f"a letter of kind {letter.kind!r} is unknown; the server has another version of dpjax."
                )
            self._check_sender(letter)
            if letter.kind != "hello" and asked(letter, "session", bytes) != self.session:
                raise LetterError("this client was not greeted in this session; say hello first.")
            return answers[letter.kind](letter)
        except ValueError as error:  # LetterError, ConfigError, and what the protocol refuses
            self.tell(f"round {letter.step}: refused: {error}")
            return refused(letter, str(error))

    def _check_sender(self, letter: Letter) -> None:
        """A network's operator, or who else can reach it, may send letters too: only the plan's server is answered."""
        try:
            signature = asked(letter, "signed", bytes)
            self.plan.server.public.verify(signature, signed_part(letter, self.number), ec.ECDSA(SHA256()))
        except InvalidSignature:
            raise LetterError("the letter is not signed by the plan's server; it is not answered.") from None

    def _hello(self, letter: Letter) -> Letter:
        if asked(letter, "protocol", int) != PROTOCOL:
            raise LetterError(
                f"the server speaks protocol {letter.says['protocol']}, this client {PROTOCOL}; take one dpjax."
            )
        if asked(letter, "plan", str) != self.plan.digest:
            raise LetterError("the server has another plan than this client; send the same file to all.")
        session = asked(letter, "session", bytes)
        self.ledger.enter(session)
        if session != self.session:
            self.session, self._published, self._round = session, 0, None
        says: dict[str, Any] = {"name": self.name}
        if self.plan.weights is not None:
            says["records"] = len(self.rows.labels)
        return Letter("hello", letter.step, says | self._keys())

    def _keys(self) -> dict[str, Any]:
        """Keys for the round that it is asked to next, signed; nothing where nobody covers anything."""
        if not self.federation.is_secure:
            return {}
        self._published += 1
        self._next = Client(0)
        both = self._next.published
        signed = signed_keys(self.plan.digest, self.session, self.number, self._published, both)
        return {
            "count": self._published,
            "mask": both.mask,
            "channel": both.channel,
            "signature": self._key.sign(signed, ec.ECDSA(SHA256())),
        }

    def _train(self, letter: Letter) -> Letter:
        if self.federation.is_secure:
            raise LetterError("the plan aggregates securely, and a plain message was asked for.")
        vector, finite = self._compute(letter)
        return Letter("train", letter.step, {"finite": int(finite)}, packed(vector))

    def _compute(self, letter: Letter) -> tuple[Any, bool]:
        """The contribution to a round, which is written down as sent."""
        slot = asked(letter, "slot", int)
        if not 0 <= slot < self.federation.setup.sampler.capacity:
            raise LetterError(f"slot {slot} is none of the plan's {self.federation.setup.sampler.capacity}.")
        params = unpacked(letter.arrays, self._carried)
        self.ledger.spend(letter.step)
        outer = self.federation.outer
        weights = self.plan.weights
        weight = 1.0 if weights is None else float(weights[self.number] / weights.max())
        vector, finite = self._send(
            jax.tree.map(jnp.asarray, params),
            self._unit,
            self._step_key(letter.step),
            jnp.int32(slot),
            jnp.float32(outer.clip_norm),
            jnp.float32(weight if self.federation.is_secure else 1.0),
        )
        said = "" if finite else " (nothing finite was learnt, so that it is zero)"
        self.tell(f"round {letter.step + 1} of {self.federation.cfg.optimizer.num_steps}: sent{said}")
        return vector, bool(finite)

    @cached_property
    def _carried(self) -> Any:
        return carried_like(self.federation)

    @cached_property
    def _unit(self) -> UnitData:
        examples, mask = padded(self.rows, self.plan.most_records)
        return UnitData(examples, mask)

    def prepare(self) -> None:
        """Compile what a round computes, so that the first is not late for it."""
        _ = self._send

    @cached_property
    def _send(self) -> Any:
        contribution, rule = self.federation.solver().contribution_fn, self.federation.rule
        if self.federation.is_secure:
            slots = self.federation.setup.sampler.capacity
            send = sent_on_grid(contribution, rule, levels=self.federation.levels, slots=slots)
        else:
            send = sent_plainly(contribution, None if self.federation.inside else rule)
        number = jnp.float32(1)
        return jax.jit(send).lower(self._carried, self._unit, self._step_key(0), jnp.int32(0), number, number).compile()

    def _step_key(self, step: int) -> jax.Array:
        """Coins of a round: nobody else's, or in a rehearsal those of the simulation."""
        if self.plan.rehearsal:
            return jax.random.fold_in(rehearsed_keys(self.federation.cfg).contributions, step)
        return jax.random.wrap_key_data(jnp.asarray(np.frombuffer(secrets.token_bytes(8), np.uint32)))

    def _share(self, letter: Letter) -> Letter:
        federation, step = self.federation, letter.step
        if not federation.is_secure or self._next is None:
            raise LetterError("no keys were published for this round; say hello first.")
        slot = asked(letter, "slot", int)
        published = self._checked(letter)
        client, self._next = self._next, None
        self.ledger.see(self.session, dict(zip(letter.says["numbers"], letter.says["counts"], strict=True)))
        client.number, client.round_name = slot, round_name(self.plan.digest, self.session, step)
        sealed = client.share_out(published, federation.threshold)
        self._round = step, client
        return Letter("shares", step, {"to": list(sealed), "sealed": list(sealed.values())})

    def _checked(self, letter: Letter) -> dict[int, PublicKeys]:
        """Slot → keys of everybody in the round, each signed by a client of the plan: the server can't add its own."""
        slots, numbers = asked(letter, "slots", list, int), asked(letter, "numbers", list, int)
        counts = asked(letter, "counts", list, int)
        parts = [asked(letter, name, list, bytes) for name in ("masks", "channels", "signatures")]
        if len({len(each) for each in (slots, numbers, counts, *parts)}) != 1 or len(set(slots)) < len(slots):
            raise LetterError("the round's clients are not listed once each.")
        if len(set(numbers)) < len(numbers) or not set(numbers) <= set(range(len(self.plan.clients))):
            raise LetterError("the round has clients who are not in the plan, or one of them twice.")
        published: dict[int, PublicKeys] = {}
        for slot, number, count, mask, channel, signature in zip(slots, numbers, counts, *parts, strict=True):
            keys = PublicKeys(mask, channel)
            member = self.plan.clients[number]
            try:
                signed = signed_keys(self.plan.digest, self.session, number, count, keys)
                member.public.verify(signature, signed, ec.ECDSA(SHA256()))
            except InvalidSignature:
                raise LetterError(
                    f"the keys of {member.name} are not signed by {member.name}; the server may have made them."
                ) from None
            published[slot] = keys
        return published

    def _upload(self, letter: Letter) -> Letter:
        client, federation = self._of_round(letter), self.federation
        senders, sealed = asked(letter, "from", list, int), asked(letter, "sealed", list, bytes)
        if len(senders) != len(sealed) or len(set(senders)) + 1 < federation.threshold:
            raise LetterError(
                f"{len(set(senders)) + 1} clients shared keys, below the plan's threshold of {federation.threshold}."
            )
        client.hold(dict(zip(senders, sealed, strict=True)))
        numbers, finite = self._compute(letter)
        numbers = np.asarray(numbers, np.int64)
        if federation.shares_noise:
            numbers = numbers + self._share_of_noise(letter.step, client.number, len(numbers))
        words = cover(numbers, client, {client.number, *senders})
        says = {"words": bytes_of_words(words, federation.cfg.federated.bits), "finite": int(finite)}
        return Letter("upload", letter.step, says)

    def _share_of_noise(self, step: int, slot: int, size: int) -> np.ndarray:
        """Whole numbers of its own, so that a sum of ``threshold − colluding`` of them has the plan's noise."""
        federation, privacy = self.federation, self.federation.cfg.privacy
        shares = federation.threshold - privacy.colluding
        stddev = float(federation.hparams.noise_multiplier) * federation.levels / shares**0.5
        key = side_key(self._step_key(step), Purpose.NOISE_OF_CLIENTS)
        key = jax.random.split(key, federation.setup.sampler.capacity)[slot]
        return np.asarray(DRAWS[privacy.noise](key, size, jnp.float32(stddev)), np.int64)

    def _open(self, letter: Letter) -> Letter:
        client = self._of_round(letter)
        arrived, lost = asked(letter, "arrived", list, int), asked(letter, "lost", list, int)
        opened = client.open(arrived, lost, self.federation.threshold)
        self._round = None
        says = {
            "selves_of": list(opened.selves),
            "selves": [share.to_bytes(SHARE_BYTES, "big") for share in opened.selves.values()],
            "keys_of": list(opened.keys),
            "keys": [share.to_bytes(SHARE_BYTES, "big") for share in opened.keys.values()],
        }
        return Letter("open", letter.step, says | self._keys())

    def _of_round(self, letter: Letter) -> Client:
        if self._round is None or self._round[0] != letter.step:
            raise LetterError("this client has no keys in this round; say hello first.")
        return self._round[1]

    def _end(self, letter: Letter) -> Letter:
        unpacked(letter.arrays, self._carried)
        self.done = letter
        return Letter("done", letter.step)


def signed_keys(digest: str, session: bytes, number: int, count: int, keys: PublicKeys) -> bytes:
    """What a client signs: its keys, for one use in one session of one plan."""
    head = b"dpjax keys " + bytes.fromhex(digest) + len(session).to_bytes(2, "big") + session
    return head + number.to_bytes(4, "big") + count.to_bytes(4, "big") + keys.mask + keys.channel


def round_name(digest: str, session: bytes, step: int) -> bytes:
    """Which round shares are sealed for."""
    return bytes.fromhex(digest) + session + step.to_bytes(4, "big")


def state_folder(plan_digest: str, name: str, given: Path | None) -> Path:
    """Where a client keeps its ledger: given, or beside the user's other data, by plan and name."""
    from platformdirs import user_data_path

    return given or user_data_path("dpjax") / "deployed" / f"{plan_digest[:16]}-{name}"
