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
from zoo.layers import PointSet
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


def example(
    name: str, key: jax.Array, *, tiny: bool = True, shape: tuple[int, ...] | None = None, dtype: Any = jnp.float32
) -> Any:
    """A random input that a model takes: normal numbers, edges drawn at random, the last point of each set masked.

    Args:
        name: one of `zoo.names()`.
        key: random key.
        tiny: input of the card's tiny configuration, or the full-size one, a batch of one.
        shape: numbers like the card's, which it replaces.
        dtype: of the numbers.

    Returns:
        An array, a `jraph.GraphsTuple` or a `PointSet`, as the card's `kind` says.
    """
    entry = card(name)
    return _EXAMPLES[entry.kind](key, shape or (entry.tiny_example if tiny else entry.example), dtype)


def parameters(name: str, shape: tuple[int, ...] | None = None, **config: Any) -> int:
    """Number of trainable parameters of a variant, counted on shapes alone.

    Args:
        name: one of `zoo.names()`.
        shape: of the input, (B, …, C), or numbers like the card's example, which is taken when not given.
        **config: options of `create`. `num_classes` defaults to the variant's own, or 10 where it has none.
    """
    if options(name)["num_classes"] is None:
        config.setdefault("num_classes", 10)
    model, key = create(name, **config), jax.random.key(0)
    inputs = jax.eval_shape(lambda key: example(name, key, tiny=False, shape=shape), key)
    variables = jax.eval_shape(model.init, key, inputs)
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


def _graph(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> Any:
    from jraph import GraphsTuple  # not with `import zoo`

    graphs, size, edges, edge_channels, channels = shape
    of_nodes, of_edges, of_ends = jax.random.split(key, 3)
    first = size * jnp.repeat(jnp.arange(graphs), edges)
    senders, receivers = first[None] + jax.random.randint(of_ends, (2, graphs * edges), 0, size)
    return GraphsTuple(
        nodes=jax.random.normal(of_nodes, (graphs * size, channels), dtype),
        edges=jax.random.normal(of_edges, (graphs * edges, edge_channels), dtype) if edge_channels else None,
        senders=senders,
        receivers=receivers,
        globals=None,
        n_node=jnp.full(graphs, size),
        n_edge=jnp.full(graphs, edges),
    )


def _points(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> PointSet:
    mask = jnp.arange(shape[1]) < max(shape[1] - 1, 1)
    return PointSet(jax.random.normal(key, shape, dtype), jnp.broadcast_to(mask[None], shape[:2]))


_EXAMPLES = {"array": jax.random.normal, "graph": _graph, "points": _points}
