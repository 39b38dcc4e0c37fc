"""The command ``dpjax``. Nothing heavy is imported before the command that needs it runs."""

import gc
import sys
from collections.abc import Sequence

from dpjax.cli import early_stop


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs ``dpjax``; the entry point of the package.

    Formal guarantees: what a user got wrong ends as one sentence on stderr and an exit status that is not 0, never as a
    traceback (unless ``DPJAX_TRACEBACK=1`` asks for it). Ctrl-C ends as one word and status 130, also while it imports.

    Args:
      arguments: the words after ``dpjax``; the process's own if None.

    Raises:
      SystemExit: always, with the status.

    Example:
      >>> main(["--version"])
      Traceback (most recent call last):
          ...
      SystemExit: 0
    """
    if arguments is None:
        early_stop.begin()
        # A command lives for seconds; of a long table, a fourth of them would go into looking for cycles.
        gc.set_threshold(5_000_000, 50, 1_000)
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words in (["--version"], ["-V"]):
        # Before anything else is imported: this is what scripts ask first.
        from dpjax._version import __version__

        print(f"dpjax {__version__}")
        raise SystemExit(0)
    from dpjax.cli.app import run

    status = run(words)
    if arguments is None:
        early_stop.done()
    raise SystemExit(status)
