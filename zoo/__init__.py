"""A model zoo in JAX for science: architectures chosen for the symmetry of their data.

`zoo.create`, `zoo.names` and `zoo.card` give models; `zoo.taps` reads their layers and `zoo.footprint` the pixels that
a layer sees; `zoo.train` trains them, `zoo.explain` explains any JAX function, `zoo.augment` transforms images inside a
jitted step.
"""

import importlib
from types import ModuleType

from zoo.errors import UnknownName, UserError
from zoo.layers import Sequence
from zoo.registry import card, create, names, options, parameters

__version__ = "0.1.0"

_LAZY = ("augment", "explain", "footprint", "layers", "models", "sampling", "taps", "train", "weights")

__all__ = ["Sequence", "UnknownName", "UserError", "card", "create", "names", "options", "parameters", *_LAZY]


def __getattr__(name: str) -> ModuleType:
    # Sub-packages load when first used: `zoo.names()` needs neither Orbax nor the explainers.
    if name in _LAZY:
        return importlib.import_module(f"zoo.{name}")
    raise AttributeError(f"module 'zoo' has no attribute {name!r}")
