"""How groups of jobs are cut into shares, one for a node at a time, and which of a share's jobs are still to be run."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from experiments.error_words import explain
from experiments.launching.site import NodeError
from experiments.launching.worker import Ended
from experiments.task import Job, Outcome

_FEWEST = 4
"""Jobs in a share that is cut by itself: fewer would not pay for one more compilation."""


@dataclass
class Share:
    """Jobs of one signature that a node runs together.

    Attributes:
      jobs: of one key.
      attempts: nodes that began it and were lost.
      open: numbers of the jobs that have not ended.
    """

    jobs: Sequence[Job]
    attempts: int = 0
    open: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.open = self.open or set(range(len(self.jobs)))

    def outcomes(self, ended: Ended) -> list[Outcome]:
        """Outcomes of jobs that ended; none of what was known.

        Args:
          ended: as the node told it.
        """
        numbers = sorted(self.open) if ended.number is None else sorted(self.open & {ended.number})
        self.open -= set(numbers)
        return [Outcome(self.jobs[i], ended.rows, ended.error) for i in numbers]

    def rest(self) -> "Share":
        """What is left of it after its node was lost."""
        return Share([self.jobs[i] for i in sorted(self.open)], self.attempts + 1)

    def give_up(self, reason: str) -> list[Outcome]:
        """Outcomes of what is left, which no node could end.

        Args:
          reason: what became of the last node.
        """
        times = "once" if self.attempts == 0 else f"{self.attempts + 1} times"
        error = NodeError(f"the node of this job was lost {times} ({reason}); run the same command again to go on.")
        return self.outcomes(Ended(None, error=error))


def cut(groups: Sequence[Sequence[Job]], slots: int, points_per_task: int | None = None) -> list[Share]:
    """Cut groups into shares, so that no node of a cluster is without work while another has much.

    Formal guarantees: each job is in one share, with jobs of its group only, in their order.

    Args:
      groups: jobs of one key each.
      slots: shares that can run at once.
      points_per_task: most jobs in a share; None: as few shares as fill the slots, and none of a few jobs only.

    Example:
      >>> jobs = [Job(None, None, str(i)) for i in range(20)]
      >>> [len(share.jobs) for share in cut([jobs[:12], jobs[12:]], 4)]
      [6, 6, 4, 4]
      >>> [len(share.jobs) for share in cut([jobs[:12], jobs[12:]], 4, 5)]
      [4, 4, 4, 4, 4]
    """
    total = sum(len(group) for group in groups)
    shares: list[Share] = []
    for group in groups:
        if points_per_task is not None:
            parts = math.ceil(len(group) / points_per_task)
        else:
            parts = max(1, min(round(slots * len(group) / total), len(group) // _FEWEST))
        small, larger = divmod(len(group), parts)
        begin = 0
        for part in range(parts):
            end = begin + small + (part < larger)
            shares.append(Share(group[begin:end]))
            begin = end
    return shares


def again_in_words(jobs: int) -> str:
    """Say that jobs run again.

    Example:
      >>> again_in_words(1), again_in_words(2)
      ('1 job of it runs again', '2 jobs of it run again')
    """
    return "1 job of it runs again" if jobs == 1 else f"{jobs} jobs of it run again"


def reason(error: BaseException) -> str:
    """Why a node was lost, as part of a sentence."""
    return explain(error).partition(". ")[0].rstrip(".")
