"""GAT: neighbours weighed by attention, in the second version, whose ranking of neighbours depends on the node.

Brody+22, https://arxiv.org/abs/2105.14491, after Veličković+18, https://arxiv.org/abs/1710.10903. What differs: one
bias inside the attention and one behind it; a third, of the senders, would add nothing.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers import (
    Dropout,
    Graph,
    Tap,
    segment_softmax,
    segment_sum,
    with_self_loops,
)
from zoo.models.card import Card
from zoo.models.message_passing import (
    GRAPH_INPUTS,
    PERMUTATIONS,
    TINY,
    MessagePassingNet,
    add_bias,
    messages,
)


class GAT(MessagePassingNet):
    """Brody+22, equation 7: x'_i is the sum of α W₁ x_j over the neighbours j and i itself, for each head.

    α is the softmax over them of a · LeakyReLU(W₁ x_j + W₂ x_i); the heads stand side by side.

    As `MessagePassingNet` with the activation ELU, and:

    Attributes:
        heads: number of heads, which share the width.
        output_heads: number of heads of a last layer that is the head, of which the mean is taken.
        edge_features: whether `graph.edges` (ΣE, D) are features, W₃ of which is added inside the LeakyReLU; those of
            the self-loop are the mean of those that arrive.
        attention_dropout: rate of the weights α. They are the tap `layer{l}/weights`, (ΣE + ΣN, heads): the edges,
            then the self-loops.
    """

    heads: int = 8
    output_heads: int = 1
    edge_features: bool = False
    attention_dropout: float = 0.0

    def _edges(self) -> Literal["ignored", "features"]:
        return "features" if self.edge_features else "ignored"

    def _layer(
        self, graph: Graph, x: jax.Array, number: int, last: bool, train: bool, types: dict[str, Any]
    ) -> jax.Array:
        if min(self.heads, self.output_heads) < 1 or self.width % self.heads:
            raise ValueError(
                f"heads {self.heads} and output_heads {self.output_heads} must be at least 1, and width {self.width} a "
                "multiple of heads."
            )
        if self.edge_features and (self.edge_types or graph.edges is None):
            raise ValueError(
                "edge_features=True takes floating edges (E, D), and no types beside them: give them, or set "
                "edge_features=False."
            )
        return GATLayer(
            heads=self.output_heads if last else self.heads,
            mean=last,
            dropout=self.attention_dropout,
            axis_name=self.axis_name,
            **self._options(number, last, types),
        )(graph, x, train=train)

    def _activation(self, x: jax.Array) -> jax.Array:
        return nn.elu(x)


class GATLayer(nn.Module):
    """(N, F) → (N, features), all heads side by side, or the mean of heads with `features` each.

    Parameters: `senders` W₁, `receivers` W₂ with a bias, `edges` W₃, `query` a (heads, channels), `bias`, `types`.
    """

    features: int
    heads: int
    mean: bool = False
    dropout: float = 0.0
    slope: float = 0.2
    edge_types: int = 0
    use_bias: bool = True
    axis_name: str | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, graph: Graph, x: jax.Array, *, train: bool) -> jax.Array:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        size, channels = x.shape[0], self.features if self.mean else self.features // self.heads
        graph = with_self_loops(graph, edge_types=self.edge_types)

        columns = self.heads * channels
        sent = nn.Dense(columns, use_bias=False, name="senders", **types)(x)
        sent = messages(self, sent, graph, features=columns)
        pairs = sent + nn.Dense(columns, name="receivers", **types)(x)[graph.receivers]
        if graph.edges is not None and not self.edge_types:
            pairs = pairs + nn.Dense(columns, use_bias=False, name="edges", **types)(graph.edges)
        query = self.param("query", nn.initializers.glorot_uniform(), (self.heads, channels), self.param_dtype)
        pairs = nn.leaky_relu(pairs, self.slope).reshape(-1, self.heads, channels)
        scores = jnp.sum(pairs * query.astype(x.dtype)[None], axis=-1)
        weights = Tap(name="weights")(segment_softmax(scores, graph.receivers, size))
        weights = Dropout(self.dropout, axis_name=self.axis_name, name="dropout")(weights, train=train)
        sent = sent.reshape(-1, self.heads, channels) * weights[..., None]
        x = segment_sum(sent.reshape(-1, columns), graph.receivers, size)
        return add_bias(self, jnp.mean(x.reshape(size, self.heads, channels), axis=1) if self.mean else x)


VARIANTS = {
    "gat": Card(
        module=GAT,
        config={},
        title="graph attention, second version",
        paper="https://arxiv.org/abs/2105.14491",
        inputs=f"{GRAPH_INPUTS}, edges (ΣE, D)",
        kind="graph",
        example=(1, 2708, 10556, 0, 1433),
        tiny={**TINY, "heads": 2, "edge_features": True, "pool": "attention"},
        tiny_example=(2, 5, 12, 3, 2),
        symmetries=PERMUTATIONS,
    ),
}
