"""The plan of a federation: the one file that server and clients agree to, bit by bit, before anything is computed."""

import base64
import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_public_key
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import dpjax
from dpjax.datasets import Dataset
from dpjax.datasets.targets import Target
from dpjax.results import write_atomically
from experiments.border import from_hydra
from experiments.config import Config, ConfigError, writable
from experiments.fields import as_dict

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_MOST_NUMBERS = 10**8  # in one input
_ASKED = ("dpjax", "config", "server", "clients", "most_records", "rehearsal", "data", "claim")


@dataclass(frozen=True)
class Member:
    """A client that may take part.

    Attributes:
      name: its own, for people.
      key: its public key, one line of OpenSSH; whoever has the private one is this client.
      records: rows that it trains on, where the plan weighs by them; None: nobody needs to know.
    """

    name: str
    key: str
    records: int | None = None

    @property
    def public(self) -> ec.EllipticCurvePublicKey:
        """Its key as a key.

        Raises:
          ConfigError: it is none of an elliptic curve, as Flower wants it.
        """
        try:
            key = load_ssh_public_key(self.key.encode())
        except (ValueError, UnsupportedAlgorithm) as error:
            raise ConfigError(
                f"the key of client {self.name} is no public key of OpenSSH; `dpjax deploy key` makes one."
            ) from error
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise ConfigError(
                f"the key of client {self.name} is not of an elliptic curve; `dpjax deploy key` makes one."
            )
        return key

    @property
    def pem(self) -> str:
        """Its key as the SuperLink says it."""
        return self.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@dataclass(frozen=True)
class Shapes:
    """What all sides know of the data without any row of it.

    Attributes:
      name: of the data set.
      input_shape, dtype: of one input; ``text`` is a whole one.
      num_classes: 1 where a number is predicted.
      task: as ``Dataset`` has it.
      class_names: one each, or empty.
      target: range and name of a number that is predicted; None: a class is.
      licence, source: in words.
    """

    name: str
    input_shape: tuple[int, ...]
    dtype: str
    num_classes: int
    task: str
    class_names: tuple[str, ...] = ()
    target: tuple[float, float, str] | None = None
    licence: str = ""
    source: str = ""

    @classmethod
    def of(cls, dataset: Dataset) -> "Shapes":
        """Of a data set that lies here."""
        target = dataset.target
        return cls(
            dataset.name,
            tuple(dataset.input_shape),
            _dtype(dataset),
            dataset.num_classes,
            dataset.task,
            tuple(dataset.class_names),
            None if target is None else (float(target.low), float(target.high), target.name),
            dataset.licence,
            dataset.source,
        )

    def dataset(self, train: Any, train_labels: Any, test: Any, test_labels: Any) -> Dataset:
        """A data set of these shapes, of rows that were read from a file of them."""
        return Dataset(
            name=self.name,
            train_inputs=train,
            train_labels=train_labels,
            test_inputs=test,
            test_labels=test_labels,
            num_classes=self.num_classes,
            input_shape=self.input_shape,
            task=self.task,  # pyright: ignore[reportArgumentType]
            unit="example",
            licence=self.licence,
            source=self.source,
            class_names=self.class_names,
            target=None if self.target is None else Target(*self.target),
        )

    def rows(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """So many inputs and labels that say nothing, where a program wants some."""
        kind = np.dtypes.StringDType() if self.dtype == "text" else np.dtype(self.dtype)
        inputs = np.full((number, *self.input_shape), "a" if self.dtype == "text" else 0, kind)
        return inputs, np.zeros(number, np.int32 if self.target is None else np.float32)


def _dtype(dataset: Dataset) -> str:
    if dataset.task == "tokens":
        raise ConfigError("data.tokens can't be deployed yet: rows are of different lengths; give texts or tables.")
    if dataset.task == "chat" or (dataset.task == "document" and dataset.input_shape == (3,)):
        raise ConfigError("data.messages and pairs of answers can't be deployed yet; give texts or tables.")
    return "text" if dataset.task == "document" else str(dataset.train_inputs.dtype)


@dataclass(frozen=True)
class Plan:
    """What server and clients agree to.

    Attributes:
      cfg: the config, resolved.
      clients: who may take part; their order is that of the simulation's clients.
      server: whose letters clients answer, and nobody else's.
      most_records: rows of the largest client, at most; further ones are refused.
      shapes: of the data.
      rehearsal: whether all keys follow from ``cfg.seed``, as in the simulation: equal to it, and private only against
        who does not know the seed.
      claim: what ε the run has, in words; not part of what is agreed, as it follows.
      version: of dpjax.
    """

    cfg: Config
    clients: tuple[Member, ...]
    server: Member
    most_records: int
    shapes: Shapes
    rehearsal: bool = False
    claim: str = ""
    version: str = dpjax.__version__

    def __post_init__(self):
        names = [member.name for member in self.clients]
        _ = self.server.public
        for name in names:
            if not _NAME.fullmatch(name):
                raise ConfigError(f"the client's name {name!r} is none; give letters, digits, points and dashes.")
        if len(set(names)) < len(names) or len({member.pem for member in self.clients}) < len(names):
            raise ConfigError("two clients have the same name or key; give each its own.")
        if len(names) < self.cfg.federated.expected_clients:
            raise ConfigError(
                f"federated.clients_per_round={self.cfg.federated.clients_per_round} is more than the {len(names)} "
                "clients of the plan; lower it, or name more clients."
            )

    @property
    def digest(self) -> str:
        """Hash of all that is agreed: equal exactly if two parties have the same plan."""
        agreed = {name: value for name, value in self._content().items() if name != "claim"}
        return hashlib.sha256(json.dumps(agreed, sort_keys=True).encode()).hexdigest()

    @property
    def weights(self) -> np.ndarray | None:
        """p_k of the clients; None where all weigh the same.

        Raises:
          ConfigError: the config weighs by sizes, and the plan does not say one.
        """
        if self.cfg.federated.weights != "sizes":
            return None
        sizes = [member.records for member in self.clients]
        if None in sizes:
            raise ConfigError("federated.weights=sizes needs `records` of every client in the plan; add them.")
        counts = np.asarray(sizes, np.float64)
        return counts / counts.sum()

    def member(self, pem: str) -> int | None:
        """The number of the client that has a key; None: nobody may have it."""
        return next((i for i, member in enumerate(self.clients) if member.pem.strip() == pem.strip()), None)

    def write(self, path: Path) -> None:
        """The plan as a file that people can read and sign."""
        head = f"# {self.claim}\n# digest {self.digest}\n" if self.claim else f"# digest {self.digest}\n"
        text = head + yaml.safe_dump(self._content(), sort_keys=False, allow_unicode=True, width=120)
        write_atomically(path, text.encode())

    def _content(self) -> dict[str, Any]:
        return {
            "dpjax": self.version,
            "claim": self.claim,
            "rehearsal": self.rehearsal,
            "most_records": self.most_records,
            "server": {k: v for k, v in vars(self.server).items() if v is not None},
            "clients": [{k: v for k, v in vars(member).items() if v is not None} for member in self.clients],
            "data": json.loads(json.dumps(vars(self.shapes))),
            "config": json.loads(json.dumps(as_dict(self.cfg)).replace("Infinity", '"inf"')),
        }


def read_plan(path: Path) -> Plan:
    """The plan in a file.

    Raises:
      ConfigError: it is none, or of another version of dpjax.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"plan={path} can't be read ({error.strerror}); give the file that the coordinator sent."
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"plan={path} is no YAML; give the file that the coordinator sent, unchanged.") from error
    if not isinstance(content, dict) or set(content) - set(_ASKED) or not {"config", "clients", "data"} <= set(content):
        raise ConfigError(f"plan={path} is no plan; `dpjax deploy plan` and `dpjax deploy rehearse` write one.")
    if content.get("dpjax") != dpjax.__version__:
        raise ConfigError(
            f"plan={path} is of dpjax {content.get('dpjax')}, and this is {dpjax.__version__}; install that one."
        )
    try:
        merged = OmegaConf.merge(writable(Config), content["config"])
        assert isinstance(merged, DictConfig)
        cfg = from_hydra(merged)
        data: dict[str, Any] = dict(content["data"])
        data |= {name: tuple(data[name]) for name in ("input_shape", "class_names") if name in data}
        target = data.get("target")
        data["target"] = None if target is None else tuple(target)
        shapes = Shapes(**data)
        clients = tuple(Member(**member) for member in content["clients"])
        server, most = Member(**content["server"]), content["most_records"]
    except (TypeError, KeyError, ValueError, OmegaConfBaseException) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            f"plan={path} does not say what a plan says ({' '.join(str(error).split())[:200]})."
        ) from error
    if type(most) is not int or most < 1:
        raise ConfigError(f"plan={path}: most_records={most} must be a whole number of at least 1.")
    if type(content.get("rehearsal", False)) is not bool:
        raise ConfigError(f"plan={path}: rehearsal={content['rehearsal']!r} must be true or false.")
    numbers = math.prod(shapes.input_shape) if all(type(x) is int and x > 0 for x in shapes.input_shape) else 0
    if not 1 <= max(numbers, not shapes.input_shape) <= _MOST_NUMBERS:
        raise ConfigError(f"plan={path}: data.input_shape={list(shapes.input_shape)} is no shape of one input.")
    return Plan(cfg, clients, server, most, shapes, bool(content.get("rehearsal")), str(content.get("claim", "")))


def with_claim(plan: Plan, claim: str) -> Plan:
    """The plan with what ε it has, in words."""
    return replace(plan, claim=claim)


def fingerprint(key: str) -> str:
    """A public key as people compare it.

    Example:
      >>> fingerprint("ecdsa-sha2-nistp384 " + base64.b64encode(b"key").decode())[:13]
      'SHA256:LHDhK3'
    """
    body = base64.b64decode(key.split()[1])
    return "SHA256:" + base64.b64encode(hashlib.sha256(body).digest()).decode().rstrip("=")


def members(named: Sequence[tuple[str, Path]]) -> tuple[Member, ...]:
    """Clients by their names and the files of their public keys.

    Raises:
      ConfigError: a file that can't be read.
    """
    found: list[Member] = []
    for name, path in named:
        try:
            found.append(Member(name, path.read_text(encoding="utf-8").strip()))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"the key of client {name}, {path}, can't be read; ask it for its .pub file.") from error
    return tuple(found)
