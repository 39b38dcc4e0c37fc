"""What a run is told that is no error: it does what was asked for, which may not be what was meant."""

import warnings

from experiments.config import Config

FEW_PASSES = 0.2


def of_few_steps(cfg: Config) -> str | None:
    """That a central run sees few of its rows, as one whose steps were meant to be epochs; None where that is not so.

    Args:
      cfg: of a run; a federation's rounds may well reach few clients each.

    Example:
      >>> of_few_steps(Config()) is None
      True
    """
    steps, rate = cfg.optimizer.num_steps, cfg.optimizer.sampling_rate
    if cfg.is_federated or steps * rate >= FEW_PASSES:
        return None
    is_part = f"optimizer.num_steps={steps} at optimizer.sampling_rate={rate:g} is {steps * rate:.2g} of one pass"
    return f"{is_part} over the rows; these are steps, no epochs, of which one takes {round(1 / rate)} steps"


def hint(cfg: Config) -> None:
    """Say once for jobs of one group what may not have been meant."""
    few = of_few_steps(cfg)
    if few is not None:
        warnings.warn(few, stacklevel=2)
