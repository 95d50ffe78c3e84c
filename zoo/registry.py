"""Names → models and their cards."""

import dataclasses
import fnmatch
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.errors import UserError, unknown
from zoo.models import FAMILIES, Card

_RESERVED = {"parent", "name"}


@functools.cache
def _cards() -> Mapping[str, Card]:
    return {name: card for family in FAMILIES for name, card in family.VARIANTS.items()}


def names(pattern: str = "*") -> tuple[str, ...]:
    """Names of the models that match a shell pattern such as `"resnet*"`, sorted."""
    return tuple(sorted(fnmatch.filter(_cards(), pattern)))


def card(name: str) -> Card:
    """The card of a model: paper, inputs, symmetries, tiny configuration.

    Raises:
        UnknownName: with the closest names.
    """
    if name not in _cards():
        raise unknown("model", name, _cards())
    return _cards()[name]


def options(name: str) -> dict[str, Any]:
    """Options that `create(name, …)` takes, with their defaults for this variant."""
    entry = card(name)
    fields = {f.name: f.default for f in dataclasses.fields(entry.module) if f.name not in _RESERVED}
    return {k: None if v is dataclasses.MISSING else v for k, v in {**fields, **entry.config}.items()}


def create(name: str, **config: Any) -> nn.Module:
    """Build a model by name: `zoo.create("resnet18", num_classes=4, in_channels=1)`.

    Args:
        name: one of `zoo.names()`.
        **config: fields of the module that differ from the variant's.

    Returns:
        A Flax linen module; `init(key, x)` and `apply(variables, x, train=False)` are pure functions.

    Raises:
        UnknownName: the model or an option is not known; the closest names are given.
        UserError: a field without default is missing.
    """
    entry = card(name)
    known = options(name)
    for option in config:
        if option not in known:
            raise unknown(f"option of {name}", option, known)
    config = {**entry.config, **config}
    required = [
        f.name
        for f in dataclasses.fields(entry.module)
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING and f.name not in _RESERVED
    ]
    missing = [field for field in required if field not in config]
    if missing:
        raise UserError(f"{name} needs {' and '.join(missing)}: zoo.create({name!r}, {missing[0]}=…).")
    return entry.module(**config)


def parameters(name: str, shape: tuple[int, ...] | None = None, **config: Any) -> int:
    """Number of trainable parameters of a variant, counted on shapes alone.

    Args:
        name: one of `zoo.names()`.
        shape: input shape (B, …, C); the card's example when not given.
        **config: options of `create`. `num_classes` defaults to the variant's own, or 10 where it has none.
    """
    if options(name)["num_classes"] is None:
        config.setdefault("num_classes", 10)
    model = create(name, **config)
    inputs = jax.ShapeDtypeStruct(shape or card(name).example, jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), inputs)
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
