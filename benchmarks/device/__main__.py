"""Everything that dpjax costs on the device at hand, in one command of at most eight minutes.

    python -m benchmarks.device [--minutes 8] [--only mlp,sweep] [--out FOLDER] [--tiny]

It needs no network and no file: weights are random, as times don't depend on their values. It times steps of every
clipping engine beside the ordinary step, jax_privacy's and Opacus's ghost clipping (where these are installed), lanes
of a sweep, federated rounds and noise, with compile times and memory. What does not fit, does not apply or is not
installed is a row that says so. device.json and device.md are written after every row: stop it when you like.
"""

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from benchmarks.device import report
from benchmarks.device.plan import PLAN, small
from benchmarks.device.session import Session
from benchmarks.device.side import HASTY, MEMORY, UNCACHED, Measuring

EXAMPLES = """examples:
  python -m benchmarks.device                           all of it, best first, on the first device that JAX finds
  python -m benchmarks.device --minutes 2 --only mlp    one work: a first look
  python -m benchmarks.device --tiny                    every piece in small shapes, on any processor: does it run?
  JAX_PLATFORMS=cpu python -m benchmarks.device         on the processor, though there is a GPU

pieces, in order:
"""


def say(line: str) -> None:
    """Progress."""
    print(line, file=sys.stderr, flush=True)


def main(words: Sequence[str] | None = None) -> int:
    names = [piece.name for piece in PLAN]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.device",
        description=(__doc__ or "").split("\n\n")[0] + "\n\n" + (__doc__ or "").split("\n\n")[2],
        epilog=EXAMPLES + "\n".join(f"  {piece.name:<16} {piece.title}" for piece in PLAN),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=8.0, help="the budget; what there is no time for is told")
    parser.add_argument("--only", default=",".join(names), metavar="PIECES", help="some of the pieces below")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), help="folder of the two files")
    parser.add_argument("--tiny", action="store_true", help="small shapes; writes device_tiny.json and .md")
    chosen = parser.parse_args(words)
    wanted = [name.strip() for name in chosen.only.split(",") if name.strip()]
    if unknown := [name for name in wanted if name not in names]:
        parser.error(f"--only: {', '.join(unknown)} is not known; use some of {', '.join(names)}.")
    if not wanted:
        parser.error(f"--only is empty; use some of {', '.join(names)}.")
    if not chosen.minutes > 0:
        parser.error(f"--minutes {chosen.minutes:g} must be above 0, such as 8.")
    try:  # before minutes are spent on what can't be kept
        chosen.out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=chosen.out):
            pass
    except OSError as problem:
        parser.error(f"--out {chosen.out} can't be written ({problem.strerror}); choose another folder.")
    name = "device_tiny" if chosen.tiny else "device"
    measuring = Measuring(MEMORY | (HASTY if chosen.tiny else UNCACHED))
    session = Session(
        measuring.ask,
        lambda found: report.write(found, chosen.out, name),
        say,
        seconds=60 * chosen.minutes,
        tiny=chosen.tiny,
    )
    try:
        session.run([piece for piece in (small(PLAN) if chosen.tiny else PLAN) if piece.name in wanted])
    except KeyboardInterrupt as stop:  # which has kept what was finished
        say(f"interrupted; what was finished is in {chosen.out / name}.md and .json")
        return int(*stop.args) or 130
    finally:
        measuring.end()
    print(report.markdown(session.report))
    say(f"written to {chosen.out / name}.md and .json")
    if late := session.left_out():
        say(late)
    return 1 if "error" in session.report.machine else 0


def _stop(number: int, frame: FrameType | None) -> None:
    """As after Ctrl-C: the measuring process must not be left behind."""
    raise KeyboardInterrupt(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    sys.exit(main())
