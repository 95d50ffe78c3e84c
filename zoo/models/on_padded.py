"""Networks on graphs, for batches of padded graphs: what a training step, or a device of many, can take apart.

The network itself is unchanged, and so are the names of its weights. Where pairs of nodes are asked about, what it says
of each node is taken for an embedding, and two nodes belong together as far as theirs point the same way: the inner
product is the logit (Kipf & Welling 2016, https://arxiv.org/abs/1611.07308, equation 2).
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from zoo.layers import PaddedGraphs


class OnPadded(nn.Module):
    """`PaddedGraphs` of B graphs → (B, K), (B, N, K), (B, E, K), or of pairs (B, P, 2): logits of no and yes.

    What is said of padding is finite and means nothing.

    Attributes:
        network: takes a `jraph.GraphsTuple` and a mask of its graphs; its field `readout` says what of.
        pairs: whether pairs of nodes are asked about, of networks with `readout="nodes"`.
        axis_name: device axis of `pmap`, set by the training step.

    Raises:
        ValueError: pairs without a read-out of nodes, or graphs without pairs.
    """

    network: nn.Module
    pairs: bool = False
    axis_name: str | None = None

    def setup(self) -> None:
        self.inner = self.network.clone(axis_name=self.axis_name)
        nn.share_scope(self, self.inner)

    def __call__(self, graphs: PaddedGraphs, *, train: bool = False, mask: jax.Array | None = None) -> jax.Array:
        if self.pairs and (graphs.pairs is None or self.network.readout != "nodes"):
            raise ValueError("Pairs of nodes are asked about: they need graphs with pairs and a network of nodes.")
        together, real = graphs.together()
        if mask is not None:
            real = real & jnp.repeat(mask > 0, 2)
        outputs = self.inner(together, train=train, mask=real)
        if self.network.readout == "graph":
            return outputs[::2]
        outputs = outputs.reshape(graphs.nodes.shape[0], -1, outputs.shape[-1])
        return _scores(outputs, graphs.pairs) if self.pairs else outputs


def _scores(embeddings: jax.Array, pairs: jax.Array) -> jax.Array:
    """Embeddings (B, N, D) and pairs (B, P, 2) → logits (B, P, 2), 0 for no and the inner product for yes."""
    first, second = (jnp.take_along_axis(embeddings, pairs[..., end, None], axis=1) for end in (0, 1))
    yes = jnp.sum(first * second, axis=-1)
    return jnp.stack([jnp.zeros_like(yes), yes], axis=-1)
