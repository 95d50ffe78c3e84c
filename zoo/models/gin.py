"""GIN: sums over neighbours, which tell apart all multisets, and an MLP that can make use of it.

Xu+19, https://arxiv.org/abs/1810.00826: a message-passing network is no stronger than the Weisfeiler–Lehman test of
isomorphism, and this one is as strong.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers import Graph, GraphNorm, graph_norm, segment_sum
from zoo.models.card import Card
from zoo.models.message_passing import GRAPH_INPUTS, PERMUTATIONS, TINY, MessagePassingNet, linear_around, messages


class GIN(MessagePassingNet):
    """Xu+19, equation 4.1: x' = MLP((1 + ε) x + sum of x over the neighbours), ε learned, the MLP of two layers.

    The MLP is normalised inside as the network is between its layers.
    """

    def _layer(
        self, graph: Graph, x: jax.Array, number: int, last: bool, train: bool, types: dict[str, Any]
    ) -> jax.Array:
        options = self._options(number, last, types)
        return GINLayer(hidden=self.width, norm=self.norm, axis_name=self.axis_name, **options)(graph, x, train=train)


class GINLayer(nn.Module):
    """(N, F) → (N, features): parameters `eps` (), `dense1` (F, hidden), `dense2` (hidden, features), `norm`."""

    features: int
    hidden: int
    norm: GraphNorm = "batch"
    edge_types: int = 0
    use_bias: bool = True
    axis_name: str | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, graph: Graph, x: jax.Array, *, train: bool) -> jax.Array:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        eps = self.param("eps", nn.initializers.zeros, (), self.param_dtype)

        def spread(h: jax.Array) -> jax.Array:
            total = segment_sum(messages(self, h, graph), graph.receivers, h.shape[0])
            return (1 + eps).astype(h.dtype) * h + total

        x = linear_around(self, "dense1", x, spread, features=self.hidden)
        if self.norm != "batch":
            x = x + self.param("bias1", nn.initializers.zeros, (self.hidden,), self.param_dtype).astype(x.dtype)[None]
        x = graph_norm(x, self.norm, name="norm", mask=graph.node_mask, train=train, axis_name=self.axis_name, **types)
        return nn.Dense(self.features, use_bias=self.use_bias, name="dense2", **types)(nn.relu(x))


VARIANTS = {
    "gin": Card(
        module=GIN,
        config={"layers": 5, "norm": "batch", "jump": True, "pool": "sum"},
        title="sums over neighbours, as strong as the Weisfeiler–Lehman test",
        paper="https://arxiv.org/abs/1810.00826",
        inputs=GRAPH_INPUTS,
        kind="graph",
        example=(1, 18, 40, 0, 7),
        tiny={**TINY, "layers": 2},
        tiny_example=(2, 5, 12, 0, 2),
        symmetries=PERMUTATIONS,
    ),
}
