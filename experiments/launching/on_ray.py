"""Groups of jobs as tasks on a Ray cluster, their results streamed back; the driver decides what is run again."""

import os
import pickle
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from experiments.config import ConfigError
from experiments.launching.shares import Share, again_in_words, cut, reason
from experiments.launching.site import NodeError, Site, make_site
from experiments.launching.worker import Ended
from experiments.progress import Progress
from experiments.task import Job, Outcome, Task

_CONNECT_SECONDS = 5.0
_LOOK_SECONDS = 1.0
_PLACE = "Ray"
_ABSENT = "dpjax: "


class RayOptions(NamedTuple):
    """How a sweep uses a Ray cluster.

    Attributes:
      address: of its head, as HOST:PORT; "auto": a cluster that runs on this machine; None: ``RAY_ADDRESS``, or without
        that a cluster of this machine alone, which ends with the sweep.
      cpus_per_task: CPUs that a share of a group asks for.
      gpus_per_task: GPUs that it asks for.
      points_per_task: most points in a share; None: as few shares as keep all nodes at work.
      retries: times that jobs are run again whose node was lost.
    """

    address: str | None = None
    cpus_per_task: float = 1
    gpus_per_task: float = 0
    points_per_task: int | None = None
    retries: int = 3


class RayExecutor:
    """Runs the groups of a sweep on a Ray cluster; see ``experiments.launching.groups.Executor``.

    Formal guarantees: those of an ``Executor``; jobs whose node is lost are run again elsewhere, from the states that
    were kept of them, at most ``retries`` times.

    Args:
      options: how.

    Raises:
      ConfigError: an option that can't be, or no cluster.
    """

    def __init__(self, options: RayOptions) -> None:
        self._options = options
        _check(options)

    def __call__(
        self, task: Task, groups: Sequence[Sequence[Job]], progress: Progress, folder: Path
    ) -> Iterator[Outcome]:
        """Run groups of jobs."""
        if not groups:
            return
        options = self._options
        local = options.address is None and "RAY_ADDRESS" not in os.environ
        progress.tell("starting Ray on this machine" if local else "joining the Ray cluster", 0, 1)
        with _cluster(options.address) as ray:
            cfgs = [job.cfg for jobs in groups for job in jobs]
            shares = cut(groups, _slots(ray, options), options.points_per_task)
            progress.spread(len(groups), len(shares), sum(map(len, groups)), f"{_PLACE}, {_nodes(ray)}")
            yield from _run(ray, options, make_site(folder, cfgs), shares, progress)


def _check(options: RayOptions) -> None:
    prefix = "hydra.launcher."
    if options.address is not None and "://" in options.address:
        raise ConfigError(
            f"{prefix}address={options.address} is of Ray's client, which streams no results; start the sweep on a "
            "node of the cluster with the address of its head, as HOST:6379."
        )
    for name in ("cpus_per_task", "gpus_per_task"):
        if not getattr(options, name) >= 0:
            raise ConfigError(f"{prefix}{name}={getattr(options, name)} must be ≥ 0.")
    if not options.cpus_per_task + options.gpus_per_task > 0:
        raise ConfigError(f"{prefix}cpus_per_task=0 with gpus_per_task=0 asks for nothing; give one of them.")
    if options.points_per_task is not None and options.points_per_task < 1:
        raise ConfigError(f"{prefix}points_per_task={options.points_per_task} must be ≥ 1, or null.")
    if options.retries < 0:
        raise ConfigError(f"{prefix}retries={options.retries} must be ≥ 0.")


def _run(
    ray: ModuleType, options: RayOptions, site: Site, shares: Sequence[Share], progress: Progress
) -> Iterator[Outcome]:
    remote = ray.remote(_serve()).options(
        num_cpus=options.cpus_per_task, num_gpus=options.gpus_per_task, max_retries=0, name="dpjax"
    )

    def start(share: Share) -> Any:
        # As bytes: a node without dpjax says so in a sentence, and not as it unpickles an argument.
        return remote.remote(pickle.dumps(site), pickle.dumps(list(share.jobs)))

    running = {start(share): share for share in shares}
    said: set[str] = set()
    try:
        while running:
            try:
                ready, _ = ray.wait(list(running), num_returns=1, timeout=_LOOK_SECONDS)
            except KeyboardInterrupt:
                progress.check()  # Ray forgets which signal it was
                raise
            progress.tell(f"tasks on {_PLACE}", len(shares) - len(running), len(shares))
            for stream in ready:
                share = running[stream]
                try:
                    ended: Ended = pickle.loads(ray.get(next(stream)))  # nosec B301 # by a node of this sweep
                except StopIteration:
                    del running[stream]
                    yield from share.give_up("it ended without a word of it")
                    continue
                except Exception as error:
                    del running[stream]
                    if is_lost(ray, error) and share.attempts < options.retries:
                        progress.say(f"A task was lost ({_why(error)}): {again_in_words(len(share.open))}.")
                        again = share.rest()
                        running[start(again)] = again
                    else:
                        yield from share.give_up(_why(error)) if is_lost(ray, error) else _failed(share, error)
                    continue
                for line in ended.said:
                    if line not in said:
                        said.add(line)
                        progress.say(line)
                yield from share.outcomes(ended)
    finally:
        for stream in running:
            ray.cancel(stream, force=True)


def _serve() -> Callable[[bytes, bytes], Iterator[bytes]]:
    """What a node runs; made here, so that Ray sends its code and not the name of a module that may not be there."""

    def serve(site: bytes, jobs: bytes) -> Iterator[bytes]:
        import pickle

        try:
            from experiments.launching.worker import work
        except ImportError as error:
            import socket

            raise RuntimeError(f"dpjax: node {socket.gethostname()} has not all of dpjax ({error})") from error
        for ended in work(site, jobs):
            yield pickle.dumps(ended)

    return serve


def is_lost(ray: ModuleType, error: BaseException) -> bool:
    """Whether the node or the process of a task is gone, and not what it ran at fault.

    Args:
      ray: the package.
      error: that the stream of a task gave.
    """
    return isinstance(error, ray.exceptions.RayError) and not isinstance(error, ray.exceptions.RayTaskError)


def _failed(share: Share, error: Exception) -> list[Outcome]:
    """Outcomes of jobs whose task failed as a whole."""
    text = " ".join(str(error).split())
    failed = getattr(error, "cause", None) or error
    if _ABSENT in text:
        failed = NodeError(f"{text.rpartition(_ABSENT)[2]}; install there what this machine has.")
    return share.outcomes(Ended(None, error=failed))


def _why(error: BaseException) -> str:
    return {
        "WorkerCrashedError": "its process died",
        "NodeDiedError": "its node died",
        "OutOfMemoryError": "memory ran out",
    }.get(type(error).__name__, reason(error))


def _nodes(ray: ModuleType) -> str:
    number = sum(node["Alive"] for node in ray.nodes())
    return "1 node" if number == 1 else f"{number} nodes"


def _slots(ray: ModuleType, options: RayOptions) -> int:
    """Shares that can run at once."""

    def on(node: dict[str, Any]) -> int:
        has = node["Resources"]
        asked = (("CPU", options.cpus_per_task), ("GPU", options.gpus_per_task))
        return min(int(has.get(name, 0) // number) for name, number in asked if number > 0)

    slots = sum(on(node) for node in ray.nodes() if node["Alive"])
    if slots == 0:
        raise ConfigError(
            f"no node of the Ray cluster has {options.cpus_per_task:g} CPUs and {options.gpus_per_task:g} GPUs; set "
            "hydra.launcher.cpus_per_task and gpus_per_task to what a node has."
        )
    return slots


@contextmanager
def _cluster(address: str | None) -> Iterator[ModuleType]:
    """Ray, connected to a cluster."""
    where = address or os.environ.get("RAY_ADDRESS") or "local"
    if where not in ("auto", "local"):
        _answers(where)
    hears = signal.getsignal(signal.SIGTERM)
    try:
        _set_token(where)  # which Ray reads as it is imported
        import ray

        ray.init(
            address=where,
            log_to_driver=False,
            configure_logging=False,
            include_dashboard=False if where == "local" else None,
        )
    except ImportError:
        raise ConfigError("hydra/launcher=ray_batched needs Ray; install it with the extra ray.") from None
    except Exception as error:  # Ray raises that very class where a node of its own does not start
        said = " ".join(str(error).split()).partition(". ")[0].rstrip(".") or type(error).__name__
        if where == "local":
            raise ConfigError(
                f"Ray could not start a cluster on this machine ({said[:200]}); run the same command again once the "
                "machine is less busy, or with hydra/launcher=batched, which needs none."
            ) from error
        if where == "auto":
            raise ConfigError(
                "hydra.launcher.address=auto: no Ray cluster runs on this machine; start one by ray start --head, or "
                "leave the address out."
            ) from error
        raise _unreachable(where, f"something answers, but {said[:1].lower()}{said[1:]}") from error
    try:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, hears)  # Ray has put its own there, which says nothing of finished jobs
        yield ray
    finally:
        ray.shutdown()


def _set_token(where: str) -> None:
    """Give a cluster of this machine alone a token, for as long as this process lives: a search starts one a batch.

    Ray would write one into the user's home, and ``ray start --head`` would from then on ask every node for it.
    """
    if where == "local" and "RAY_AUTH_MODE" not in os.environ and "ray" not in sys.modules:
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


_SETTINGS = b"\x04"
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + _SETTINGS + bytes(5)
"""How a client of gRPC begins, which Ray's head answers by settings of its own; a web server answers otherwise."""


def _answers(address: str) -> None:
    """Raise a sentence at once where nobody listens: Ray tries for a minute and then prints a page."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS) as line:
            line.sendall(_GREETING)
            line.settimeout(2)
            with suppress(OSError):  # one that waits, or closes, may be Ray under TLS
                said = line.recv(64)
                if said and said[3:4] != _SETTINGS:
                    raise _unreachable(address, "what answers there is no Ray")
    except (OSError, ValueError, OverflowError) as error:
        if isinstance(error, ConfigError):
            raise
        raise _unreachable(address, getattr(error, "strerror", None) or str(error)) from None


def _unreachable(address: str, why: str) -> ConfigError:
    return ConfigError(
        f"hydra.launcher.address={address} is no Ray cluster that this machine can join ({why}); start one by "
        "ray start --head, give its HOST:6379, with RAY_AUTH_MODE and RAY_AUTH_TOKEN as they are there, or leave the "
        "address out."
    )
