"""What each number that a user gives may be, said once: for the functions that take it, and for a config's fields.

Nothing here imports JAX: a field out of range is refused before anything else is read.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from dpjax.checks import known_number, number, whole_number


class Range(NamedTuple):
    """The numbers that an argument may be.

    Attributes:
      fix: what to do with one outside, the second half of a sentence.
      least, above: lower end, itself allowed or not.
      most, below: upper end, itself allowed or not.
      finite: whether inf is refused. NaN always is.

    Example:
      >>> DROPOUT_RATE.number("dropout_rate", 2)
      Traceback (most recent call last):
      ValueError: dropout_rate=2 must be in [0, 1]; it is a share of the cohort.
    """

    fix: str
    least: float | None = None
    above: float | None = None
    most: float | None = None
    below: float | None = None
    finite: bool = True

    def number(self, name: str, value: Any) -> Any:
        """A number in the range, known or traced; see ``dpjax.checks.number``.

        Raises:
          ValueError: as ``dpjax.checks.number``.
        """
        return number(name, value, **self._asdict())

    def known(self, name: str, value: Any) -> float:
        """A number in the range that is known when the program is made.

        Raises:
          ValueError: as ``dpjax.checks.known_number``.
        """
        return known_number(name, value, **self._asdict())


class WholeRange(NamedTuple):
    """The whole numbers that an argument may be.

    Attributes:
      fix: what to do with one outside, the second half of a sentence.
      least, most: both allowed; no upper end if None.

    Example:
      >>> NUM_STEPS.known("num_steps", 0)
      Traceback (most recent call last):
      ValueError: num_steps=0 must be ≥ 1; give the steps of the run.
    """

    fix: str
    least: int = 1
    most: int | None = None

    def known(self, name: str, value: Any) -> int:
        """A whole number in the range.

        Raises:
          ValueError: as ``dpjax.checks.whole_number``.
        """
        return whole_number(name, value, **self._asdict())


# Privacy
EPSILON = Range("use inf for no privacy", above=0, finite=False)
LEAST_EPSILON, MOST_EPSILON = 1e-3, 500.0
RESOLVED_EPSILON = Range("accountants resolve no other", least=LEAST_EPSILON, most=MOST_EPSILON)
DELTA = Range("give a probability well below 1 / population", above=0, below=1)
NOISE_MULTIPLIER = Range("it is noise stddev / clip_norm", least=0)
SMALLEST_CLIP_NORM = 1e-12
"""Below it squared norms leave float32; a traced clip norm that is smaller counts every contribution as zero. A
``stability`` below it would divide by a norm that is zero only because its squares are: the same holds."""
CLIP_NORM = Range("use inf to turn clipping off", least=SMALLEST_CLIP_NORM, finite=False)
RECORDS_PER_UNIT = WholeRange("it counts a unit's records")

# Who takes part
NUM_STEPS = WholeRange("give the steps of the run")
SAMPLING_RATE = Range("use cohort size / population", above=0, most=1)
NUM_BUCKETS = WholeRange("each bucket is compiled by itself")
MICROBATCH_SIZE = WholeRange("leave it out to have it chosen")

# Rules of clipping
STABILITY = Range("the paper uses 0.01", least=SMALLEST_CLIP_NORM)
TARGET_QUANTILE = Range("0.5 is the median", least=0, most=1)
CLIP_NORM_RATE = Range("the paper uses 0.2", above=0)
COUNT_STDDEV = Range("leave it out for cohort size / 20", above=0)

# Optimizers
MOMENT_DECAY = Range("it is a decay", least=0, below=1)
FLOOR = Range("1e-8 is usual", above=0)
AVERAGE_DECAY = Range("0.999 averages over about 1,000 steps", least=0, most=1)
WARMUP_STEPS = WholeRange("it is a part of the run", least=0)

# Clients and their rows
NUM_CLIENTS = WholeRange("it counts clients")
SHARDS_PER_CLIENT = WholeRange("it counts shards")
RECORDS_PER_CLIENT = WholeRange("it counts rows of a client")
ALPHA = Range("use the iid partition for equal shares", above=0)
LOCAL_STEPS = WholeRange("it counts local steps or epochs")
LOCAL_BATCH_SIZE = WholeRange("leave it out to use all records each step")
HEAD_STEPS = WholeRange("leave it out to train head and body together")
PROXIMAL = Range("it is FedProx's μ", least=0)
STRAGGLER_RATE = Range("it is the share of slow clients", least=0, most=1)
DROPOUT_RATE = Range("it is a share of the cohort", least=0, most=1)

# Messages
RING_BITS = WholeRange("it is the width of a ring element", least=2, most=32)
RING_LEVELS = WholeRange("leave it out to have it chosen", most=2**22)
COLLUDING = WholeRange("it is a number of clients", least=0)
ROBUST_FRACTION = Range("a majority cannot be outvoted", least=0, below=0.5)
CORRUPTED_FRACTION = Range("it is a share of the population", least=0, most=1)
CORRUPTION_FACTOR = Range("it scales what a client sends", least=0)
COORDINATE_BITS = WholeRange("the sign is among them, and more save little", least=2, most=16)
COORDINATE_FRACTION = Range("it is a share of the coordinates", above=0, most=1)

# Fine-tuning
RANK = WholeRange("it is the adapters' rank")
LAST_LAYERS = WholeRange("it counts layers")
PROMPT_LENGTH = WholeRange("it counts trained vectors")
NUM_TOKENS = WholeRange("it counts tokens to write")
