"""What each profile runs: minutes, an hour or two on two cores, or everything on an accelerator."""

from typing import NamedTuple

from experiments.leaderboard import declare


class Study(NamedTuple):
    """One sweep.

    Attributes:
      experiment: name of its config.
      overrides: of it.
      data: data sets that it needs.
      models: pretrained models that it needs.
      extra: an extra of the package that it needs, as a module that can be imported.
    """

    experiment: str
    overrides: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    extra: str = ""

    @property
    def name(self) -> str:
        """Tells it from a study of the same experiment on other data."""
        choices = [override.split("=")[1].replace("/", "_") for override in self.overrides]
        return "_".join([self.experiment, *choices])


class Profile(NamedTuple):
    """What is run and shown.

    Attributes:
      name: what ``PROFILE=`` takes.
      about: how long, on what.
      studies: sweeps of their own.
      tasks: of the leaderboard.
      seeds: of the leaderboard's reported runs.
      epsilons: of the leaderboard.
    """

    name: str
    about: str
    studies: tuple[Study, ...]
    tasks: tuple[str, ...]
    seeds: int
    epsilons: tuple[float, ...]


_FASHION = ("fashion_mnist",)
_EMBEDDED = (
    Study("quickstart"),
    Study("dp_ftrl"),
    Study("whose_noise"),
    Study("aggregation_cost", extra="tenseal"),
)
_PUBLISHED = (
    Study("published_tutorial", data=_FASHION),
    Study("published_digits", data=("mnist_10k",)),
    Study("published_scattering", data=_FASHION),
    Study("published_end_to_end", data=_FASHION),
    Study("published_tempered", data=_FASHION),
    Study("published_clients", data=_FASHION),
    Study("published_solvers", data=_FASHION),
    Study("published_reviews", data=("rotten_tomatoes",), models=("minilm",)),
)
# What a hub serves and no registry does.
_FROM_HUB = (
    *(
        Study(name, ("data=mnist",), data=("mnist",))
        for name in ("published_tutorial", "published_scattering", "published_end_to_end", "published_tempered")
    ),
    Study("published_reviews", ("data=sst2",), data=("sst2",), models=("minilm",)),
    Study("lm_quickstart", data=("rotten_tomatoes",), models=("minilm",)),
    Study("lm_licences_accelerator", data=("licences",), models=("smollm2",)),
)

PROFILES = {
    profile.name: profile
    for profile in (
        Profile("smoke", "minutes, nothing to fetch", _EMBEDDED[:2], ("digits", "digits_clients"), 2, (1.0, 8.0)),
        Profile(
            "cpu", "about 75 minutes on 2 cores", (*_EMBEDDED, *_PUBLISHED), tuple(declare.tasks()), 5, (1.0, 3.0, 8.0)
        ),
        Profile(
            "full",
            "everything, for an accelerator and a network",
            (*_EMBEDDED, *_PUBLISHED, *_FROM_HUB),
            tuple(declare.tasks()),
            10,
            (0.5, 1.0, 2.0, 4.0, 8.0),
        ),
    )
}


def needed(profile: Profile) -> tuple[list[str], list[str]]:
    """Data sets and models that a profile reads, in the order of first use.

    >>> needed(PROFILES["smoke"])
    ([], [])
    """
    tasks = [declare.tasks()[name] for name in profile.tasks]
    data = [name for study in profile.studies for name in study.data]
    data += [name for task in tasks for name in task.needs.get("data", [])]
    models = [name for study in profile.studies for name in study.models]
    models += [name for task in tasks for name in task.needs.get("models", [])]
    return list(dict.fromkeys(data)), list(dict.fromkeys(models))
