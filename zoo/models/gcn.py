"""GCN: each node becomes a weighted mean of itself and its neighbours, multiplied and rectified.

Kipf & Welling 2017, https://arxiv.org/abs/1609.02907. What differs: a dense layer by default after the last one.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers import (
    Graph,
    degrees,
    segment_sum,
)
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


class GCN(MessagePassingNet):
    """Kipf & Welling 2017, equation 2: X' = D^-½ (A + I) D^-½ X W, with D the row sums of A + I.

    As `MessagePassingNet`, and:

    Attributes:
        edge_weights: whether `graph.edges` (ΣE, 1) are weights, the entries of A; an edge of weight 0 is none. D is
            the sum over the edges that arrive, and a node where it is not positive counts as cut off.
    """

    edge_weights: bool = False

    def _edges(self) -> Literal["ignored", "weights"]:
        return "weights" if self.edge_weights else "ignored"

    def _layer(
        self, graph: Graph, x: jax.Array, number: int, last: bool, train: bool, types: dict[str, Any]
    ) -> jax.Array:
        if self.edge_weights and self.edge_types:
            raise ValueError("Edges are either weights or types: set edge_weights=False or edge_types=0.")
        return GCNLayer(edge_weights=self.edge_weights, **self._options(number, last, types))(graph, x)


class GCNLayer(nn.Module):
    """(N, F) → (N, features): parameters `dense` (F, features), `bias`, and `types` (T, features)."""

    features: int
    edge_weights: bool = False
    edge_types: int = 0
    use_bias: bool = True
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, graph: Graph, x: jax.Array) -> jax.Array:
        weights = graph.edges[:, 0] if self.edge_weights else None
        degree = degrees(graph, weights, dtype=jnp.promote_types(x.dtype, jnp.float32)) + 1
        scale = jnp.where(degree > 0, jax.lax.rsqrt(jnp.where(degree > 0, degree, 1)), 0).astype(x.dtype)[:, None]

        def spread(h: jax.Array) -> jax.Array:
            h = h * scale
            return (h + segment_sum(messages(self, h, graph, weights), graph.receivers, h.shape[0])) * scale

        return add_bias(self, linear_around(self, "dense", x, spread))


VARIANTS = {
    "gcn": Card(
        module=GCN,
        config={},
        title="graph convolutional network",
        paper="https://arxiv.org/abs/1609.02907",
        inputs=GRAPH_INPUTS,
        kind="graph",
        example=(1, 2708, 10556, 0, 1433),
        tiny=TINY,
        tiny_example=(2, 5, 12, 0, 2),
        symmetries=PERMUTATIONS,
    ),
}
