"""The main job and what it is made of; the only folder that knows Hydra."""

import sys

from dpjax.cli import early_stop

if sys.argv[:1] == ["-m"] and "experiments.run" in sys.orig_argv:  # python -m experiments.run, before its imports
    early_stop.begin()
