"""How long the rest of a sweep takes: what a group costs once, such as compiling, apart from what each job costs."""


class Pace:
    """The time of a sweep, split: before a group trains, which it pays once, and from then on, which its jobs pay.

    With one pace for both, a sweep of one program would count its compilation for every job to come.

    Args:
      jobs: that the sweep has.

    Example:
      >>> pace = Pace(10)
      >>> pace.group(1, 1, 10)
      >>> pace.passed(60.0)  # loads, calibrates, compiles
      >>> pace.trains(0, 10)
      >>> pace.passed(4.0)
      >>> pace.trains(2, 10)
      >>> pace.seconds_left
      16.0
    """

    def __init__(self, jobs: int) -> None:
        self._rest = jobs  # after the group at hand
        self._once: list[float] = []  # of groups that train or have trained
        self._waits = 0.0  # of the group at hand, before it trains
        self._trained = 0.0  # seconds
        self._groups = 0  # to come
        self._jobs = 0  # of the group at hand
        self._before = 0.0  # jobs that groups before have trained
        self._share = 0.0  # of the group at hand that has trained
        self._is_training = False

    def over(self) -> None:
        """A job needs nothing more, and was not trained now: it was skipped, or is refused."""
        if self._jobs and not self._is_training:
            self._jobs -= 1
        elif not self._jobs:
            self._rest -= 1

    def group(self, number: int, groups: int, jobs: int) -> None:
        """Another group begins."""
        self._before += self._jobs * self._share
        self._jobs, self._rest = jobs, self._rest - jobs
        self._groups, self._share, self._waits, self._is_training = groups - number, 0.0, 0.0, False

    def passed(self, seconds: float) -> None:
        """Time went by."""
        if self._is_training:
            self._trained += seconds
        else:
            self._waits += seconds

    def trains(self, done: int, total: int) -> None:
        """So many of the group's lanes have trained."""
        if not self._is_training:
            self._is_training = True
            self._once.append(self._waits)
        self._share = max(self._share, done / max(1, total))

    @property
    def seconds_left(self) -> float | None:
        """Until the last job ends; None while none has trained, or none is left."""
        done = self._before + self._jobs * self._share
        rest = self._rest + self._jobs * (1 - self._share)
        if not done or rest <= 0:
            return None
        once = sum(self._once) / len(self._once)
        waits = 0.0 if self._is_training else max(0.0, once - self._waits)
        return self._trained / done * rest + once * self._groups + waits
