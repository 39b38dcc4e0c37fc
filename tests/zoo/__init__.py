"""Small but nasty models on which every clipping engine must agree: ``ZOO``, name → ``Entry``."""

from tests.zoo import control, layers, libraries, parameters
from tests.zoo.composed import compose
from tests.zoo.core import ZOO, Entry

__all__ = ["ZOO", "Entry", "compose", "control", "layers", "libraries", "parameters"]
