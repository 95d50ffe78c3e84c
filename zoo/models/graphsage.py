"""GraphSAGE: the mean over the neighbours beside the node itself, each with its own matrix.

Hamilton+17, https://arxiv.org/abs/1706.02216. What differs: all neighbours are taken, none drawn, and features are
not scaled to length one.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers import Graph, segment_mean
from zoo.models.card import Card
from zoo.models.message_passing import (
    GRAPH_INPUTS,
    PERMUTATIONS,
    TINY,
    MessagePassingNet,
    add_bias,
    linear_around,
    messages,
)


class GraphSAGE(MessagePassingNet):
    """Hamilton+17 with the mean: x' = W₁ x + W₂ mean of x over the neighbours, which is 0 without any."""

    def _layer(
        self, graph: Graph, x: jax.Array, number: int, last: bool, train: bool, types: dict[str, Any]
    ) -> jax.Array:
        return SAGELayer(**self._options(number, last, types))(graph, x)


class SAGELayer(nn.Module):
    """(N, F) → (N, features): parameters `self` and `neighbours` (F, features), `bias`, `types` (T, features)."""

    features: int
    edge_types: int = 0
    use_bias: bool = True
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, graph: Graph, x: jax.Array) -> jax.Array:
        def spread(h: jax.Array) -> jax.Array:
            return segment_mean(messages(self, h, graph), graph.receivers, h.shape[0])

        own = linear_around(self, "self", x, lambda h: h)
        return add_bias(self, own + linear_around(self, "neighbours", x, spread))


VARIANTS = {
    "graphsage": Card(
        module=GraphSAGE,
        config={},
        title="means over neighbours beside the node itself",
        paper="https://arxiv.org/abs/1706.02216",
        inputs=GRAPH_INPUTS,
        kind="graph",
        example=(1, 2708, 10556, 0, 1433),
        tiny={**TINY, "pool": "max", "norm": "layer"},
        tiny_example=(2, 5, 12, 0, 2),
        symmetries=PERMUTATIONS,
    ),
}
