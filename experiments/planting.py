"""What a row says of secrets that were planted."""

from experiments.config import DataConf


def describe(data: DataConf) -> str | None:
    """What a row says of planted secrets; None: there are none.

    Example:
      >>> describe(DataConf(canaries=6, canary_repetitions=[1, 16]))
      '6 planted persons, 1 or 16 copies each, ranked among 1,024'
    """
    if not data.canaries:
        return None
    counts = " or ".join(map(str, data.canary_repetitions))
    return f"{data.canaries} planted persons, {counts} copies each, ranked among {data.canary_candidates:,}"


def changes(data: DataConf) -> str:
    """What a data set's name says behind it where its rows are not those of its files, as no curve may join the two.

    Example:
      >>> changes(DataConf(canaries=6, pseudonymise=True)), changes(DataConf())
      (' + 6 secrets, pseudonymised', '')
    """
    planted = f" + {data.canaries} secrets" if data.canaries else ""
    return planted + (", pseudonymised" if data.pseudonymise else "")
