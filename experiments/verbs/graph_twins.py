"""Twins of networks on graphs, made of PyTorch Geometric's layers, and of those on sets of points, in plain PyTorch.

As `twins`, for what is no array: twins compute what `zoo.create(name, …)` does for the same options. Of graphs the
convolutions are PyTorch Geometric's, which keeps its matrices as (out, in) and its weights under names of its own
(`geometric_names`); a bias in the product of the senders, which ours has not, is taken out of its GATv2. Sets of points
are dense arrays without a mask, neighbours are the smallest of all distances, and an edge is (x_i, x_j − x_i), put
together before the first dense layer: so are DGCNN and ParticleNet usually written. Their layers are made in the order
of ours, so that `twins.load_from_flax` matches their weights.

PyTorch Geometric is imported when a twin is made: it belongs to the extra `parity`.
"""

import functools
import types
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from flax import linen as nn

import zoo
from zoo import models
from zoo.errors import UserError, WeightsError
from zoo_experiments.verbs.checks import extra
from zoo_experiments.verbs.twins import Layers, require_torch

if TYPE_CHECKING:
    import torch
    from jraph import GraphsTuple


def require_geometric() -> types.ModuleType:
    """The layers of PyTorch Geometric.

    Raises:
        UserError: it, or PyTorch, is not installed; says how to get it.
    """
    require_torch()
    what = "Comparisons of networks on graphs"
    return extra("torch_geometric.nn", what=what, package="PyTorch Geometric", group="parity")


def random_graph(draw: np.random.Generator, shape: tuple[int, ...]) -> "GraphsTuple":
    """A batch of graphs without features of edges: normal numbers on nodes, edges drawn evenly.

    No node is joined to itself, and none twice to the same: PyTorch Geometric would replace the former.

    Args:
        draw: random numbers.
        shape: as on a card: graphs, nodes and edges of each, channels of edges (0), channels of nodes.
    """
    from jraph import GraphsTuple  # not with every experiment: it brings half of its own dependencies

    graphs, size, edges, _, channels = shape
    pairs = np.concatenate([draw.choice(size * (size - 1), edges, replace=False) for _ in range(graphs)])
    receivers, further = np.divmod(pairs, size - 1)
    senders = (receivers + 1 + further) % size
    first = size * np.repeat(np.arange(graphs), edges)
    return GraphsTuple(
        nodes=draw.normal(size=(graphs * size, channels)).astype(np.float32),
        edges=None,
        senders=(first + senders).astype(np.int32),
        receivers=(first + receivers).astype(np.int32),
        globals=None,
        n_node=np.full(graphs, size, np.int32),
        n_edge=np.full(graphs, edges, np.int32),
    )


class GraphTensors(NamedTuple):
    """What a twin of a network on graphs takes.

    Attributes:
        nodes: (N, F).
        edge_index: (2, E) int64, senders and receivers; or a sparse matrix (N, N) of ones, rows the receivers.
        graph_of_node: (N,) int64.
        graphs: their number.
        edges: (E, D), weights or features, or None.
    """

    nodes: "torch.Tensor"
    edge_index: "torch.Tensor"
    graph_of_node: "torch.Tensor"
    graphs: int
    edges: "torch.Tensor | None" = None


def as_tensors(graph: "GraphsTuple", *, sparse: bool = False) -> GraphTensors:
    """A batch of graphs of NumPy's arrays for PyTorch, in its dtype.

    Args:
        graph: the batch.
        sparse: whether edges are a sparse matrix by rows, for convolutions that multiply with it, which are all but
            that of GAT; no two of them may join the same nodes.
    """
    torch = require_torch()
    edge_index = torch.from_numpy(np.stack([graph.senders, graph.receivers]).astype(np.int64))
    if sparse:
        size, ones = len(graph.nodes), torch.ones(len(graph.senders), dtype=torch.from_numpy(graph.nodes).dtype)
        with warnings.catch_warnings():
            # PyTorch says, once, that sparse matrices may change yet.
            warnings.simplefilter("ignore", UserWarning)
            edge_index = torch.sparse_coo_tensor(edge_index.flip(0), ones, (size, size)).coalesce().to_sparse_csr()
    return GraphTensors(
        torch.from_numpy(graph.nodes),
        edge_index,
        torch.from_numpy(np.repeat(np.arange(len(graph.n_node)), graph.n_node)),
        len(graph.n_node),
        None if graph.edges is None else torch.from_numpy(graph.edges),
    )


def graph_twin(model: nn.Module, channels: int, edge_channels: int | None = None) -> "torch.nn.Module":
    """The twin of a network on graphs, with PyTorch's initial weights, in float32 and training mode.

    Args:
        model: GCN, GraphSAGE, GAT or GIN, made by `zoo.create`.
        channels: of its nodes.
        edge_channels: of the features of its edges, of a GAT with `edge_features`.

    Returns:
        A module that takes the fields of `GraphTensors`.

    Raises:
        UserError: PyTorch Geometric is not installed, or the model or one of its options has no twin.
    """
    require_geometric()
    if type(model) not in _CONVOLUTIONS:
        raise UserError(f"{type(model).__name__} has no twin; there are twins of: {', '.join(GRAPH_TWINS)}.")
    _refuse(
        model,
        edge_types=(0,),
        head=("dense",),
        readout=("graph", "nodes"),
        pool=("sum", "mean", "max"),
        norm=("none", "batch"),
        input_dropout=(0.0,),
    )
    return _classes().GraphNet(model, channels, edge_channels).train()


def point_twin(model: nn.Module, shape: tuple[int, ...]) -> "torch.nn.Module":
    """The twin of a network on sets of points, with PyTorch's initial weights, in float32 and training mode.

    Args:
        model: DeepSets, DGCNN or ParticleNet, made by `zoo.create`.
        shape: of its inputs, (B, N, C), all points of which count; the twin takes (B, C, N).

    Raises:
        UserError: PyTorch is not installed, or the model or one of its options has no twin.
    """
    require_torch()
    if type(model) not in _POINT_NETS:
        raise UserError(f"{type(model).__name__} has no twin; there are twins of: {', '.join(POINT_TWINS)}.")
    _refuse(model, readout=("set",), pool=("sum", "mean", "max"), periodic=(False,))
    return getattr(_classes(), _POINT_NETS[type(model)])(model, shape[-1]).train()


def _refuse(model: nn.Module, **known: tuple[Any, ...]) -> None:
    """Raise `UserError` for an option, as far as the model has it, that is none of those known."""
    for name, values in known.items():
        if getattr(model, name, values[0]) not in values:
            told = " or ".join(map(repr, values))
            raise UserError(f"Twins of {type(model).__name__} have {name} {told}; got {getattr(model, name)!r}.")


# Within a layer: our name → PyTorch Geometric's.
_NAMES: Mapping[type[nn.Module], Mapping[str, str]] = {
    models.GCN: {"dense/kernel": "lin.weight", "bias": "bias"},
    models.GraphSAGE: {"self/kernel": "lin_r.weight", "neighbours/kernel": "lin_l.weight", "bias": "lin_l.bias"},
    models.GAT: {
        "senders/kernel": "lin_l.weight",
        "receivers/kernel": "lin_r.weight",
        "receivers/bias": "lin_r.bias",
        "edges/kernel": "lin_edge.weight",
        "query": "att",
        "bias": "bias",
    },
    models.GIN: {
        "eps": "eps",
        "dense1/kernel": "nn.0.weight",
        "bias1": "nn.0.bias",
        "norm/scale": "nn.1.weight",
        "norm/bias": "nn.1.bias",
        "norm/mean": "nn.1.running_mean",
        "norm/var": "nn.1.running_var",
        "dense2/kernel": "nn.3.weight",
        "dense2/bias": "nn.3.bias",
    },
}
_COMMON = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}


def geometric_names(net: "torch.nn.Module", model: nn.Module, variables: Any) -> dict[tuple[str, ...], str]:
    """Path of each of our arrays, such as `("params", "layer1", "bias")` → name of the tensor of the same numbers.

    Raises:
        WeightsError: an array or a tensor is left over, or shapes differ.
    """
    found = {}
    theirs = {key: tensor for key, tensor in net.state_dict().items() if not key.endswith("num_batches_tracked")}
    problems = []
    for path, leaf in jax.tree.leaves_with_path(variables):
        keys = tuple(entry.key for entry in path)
        _, first, *rest = keys
        ours = "/".join(rest)
        inner = _NAMES[type(model)].get(ours) if first.startswith("layer") else _COMMON.get(ours, ours)
        name = f"{first}.{inner}"
        if name not in theirs or theirs[name].shape != as_geometric(keys, leaf).shape:
            problems.append(f"{'/'.join(keys)} {np.shape(leaf)}, there {name} {theirs.get(name, np.zeros(0)).shape}")
        found[keys] = name
    problems += [f"{name} there, and nothing here" for name in set(theirs) - set(found.values())]
    if problems:
        raise WeightsError(f"{type(model).__name__} and its twin differ:\n  " + "\n  ".join(problems))
    return found


def as_geometric(path: tuple[str, ...], value: Any) -> np.ndarray:
    """An array of ours with the axes of its tensor, see `geometric_names`."""
    value = np.asarray(value)
    if path[-1] == "kernel":
        return value.T
    return value[None] if path[-1] == "query" else value.reshape(1) if path[-1] == "eps" else value


def load_geometric(net: "torch.nn.Module", model: nn.Module, variables: Any) -> None:
    """Copy `variables` of a network on graphs into its twin, in the twin's dtype: every array and every tensor once.

    Raises:
        WeightsError: the twin is another network's, or `variables` are.
    """
    torch = require_torch()
    names, tensors = geometric_names(net, model, variables), net.state_dict()
    with torch.no_grad():
        for path, leaf in jax.tree.leaves_with_path(variables):
            keys = tuple(entry.key for entry in path)
            tensors[names[keys]].copy_(torch.from_numpy(np.array(as_geometric(keys, leaf))))


def _gcn(model: models.GCN, before: int, edge_channels: int | None) -> "torch.nn.Module":
    return require_geometric().GCNConv(before, model.width, bias=model.norm != "batch")


def _sage(model: models.GraphSAGE, before: int, edge_channels: int | None) -> "torch.nn.Module":
    return require_geometric().SAGEConv(before, model.width, bias=model.norm != "batch")


def _gat(model: models.GAT, before: int, edge_channels: int | None) -> "torch.nn.Module":
    conv = require_geometric().GATv2Conv(
        before, model.width // model.heads, heads=model.heads, edge_dim=edge_channels, dropout=model.attention_dropout
    )
    if model.norm == "batch":
        conv.bias = None
    # It would add nothing that the other two do not.
    conv.lin_l.bias = None
    return conv


def _gin(model: models.GIN, before: int, edge_channels: int | None) -> "torch.nn.Module":
    nn, width, plain = require_torch().nn, model.width, model.norm == "none"
    norm = nn.Identity() if plain else nn.BatchNorm1d(width)
    layers = (nn.Linear(before, width, bias=plain), norm, nn.ReLU(), nn.Linear(width, width, bias=plain))
    return require_geometric().GINConv(nn.Sequential(*layers), train_eps=True)


_CONVOLUTIONS: Mapping[type[nn.Module], Callable[[Any, int, int | None], "torch.nn.Module"]] = {
    models.GAT: _gat,
    models.GCN: _gcn,
    models.GIN: _gin,
    models.GraphSAGE: _sage,
}


@functools.cache
def _classes() -> types.SimpleNamespace:
    """The modules, made once PyTorch is known to be there."""
    torch = require_torch()
    functional = torch.nn.functional

    class GraphNet(torch.nn.Module):
        """Convolutions `layer{i}`, normalisations `norm{i}` and `head`."""

        def __init__(self, model: nn.Module, channels: int, edge_channels: int | None) -> None:
            super().__init__()
            self.model, before, width = model, channels, model.width
            for i in range(1, model.layers + 1):
                self.add_module(f"layer{i}", _CONVOLUTIONS[type(model)](model, before, edge_channels))
                norm = torch.nn.Identity() if model.norm == "none" else torch.nn.BatchNorm1d(width)
                self.add_module(f"norm{i}", norm)
                before = width
            self.dropout = torch.nn.Dropout(model.dropout)
            features = channels + model.layers * width if model.jump else width
            self.head = torch.nn.Linear(features, model.num_classes)

        def forward(
            self,
            nodes: "torch.Tensor",
            edge_index: "torch.Tensor",
            graph_of_node: "torch.Tensor",
            graphs: int,
            edges: "torch.Tensor | None" = None,
        ) -> "torch.Tensor":
            model, geometric = self.model, require_geometric()
            kind, x, kept = type(model), nodes, [nodes]
            more = {}
            if kind is models.GCN and model.edge_weights:
                more = {"edge_weight": edges[:, 0]}
            elif kind is models.GAT and model.edge_features:
                more = {"edge_attr": edges}
            for i in range(1, model.layers + 1):
                x = getattr(self, f"layer{i}")(self.dropout(x) if i > 1 else x, edge_index, **more)
                x = getattr(self, f"norm{i}")(x)
                x = functional.elu(x) if kind is models.GAT else functional.relu(x)
                kept.append(x)
            x = torch.cat(kept, dim=1) if model.jump else x
            if model.readout == "graph":
                pools = {"sum": "add", "mean": "mean", "max": "max"}
                x = getattr(geometric, f"global_{pools[model.pool]}_pool")(x, graph_of_node, size=graphs)
            return self.head(self.dropout(x))

    class PointNorm(torch.nn.BatchNorm1d):
        """Batch normalisation of (…, C)."""

        def forward(self, x: "torch.Tensor") -> "torch.Tensor":
            return super().forward(x.flatten(0, -2)).view(x.shape)

    class EdgeConv(torch.nn.Module):
        """Dense layers on (x_i, x_j − x_i) for all neighbours j, and a pool over them: (B, N, C) → (B, N, C')."""

        def __init__(self, before: int, widths: tuple[int, ...], activation: Callable, pool: str) -> None:
            super().__init__()
            layers, before = [], 2 * before
            for width in widths:
                layers += [torch.nn.Linear(before, width, bias=False), PointNorm(width), activation()]
                before = width
            self.layers, self.pool = torch.nn.Sequential(*layers), pool

        def forward(self, x: "torch.Tensor", near: "torch.Tensor") -> "torch.Tensor":
            batch, size, _ = x.shape
            rows = near + size * torch.arange(batch)[:, None, None]
            other = functional.embedding(rows, x.flatten(0, 1))
            own = x[:, :, None].expand_as(other)
            return _pooled(self.layers(torch.cat([own, other - own], dim=-1)), self.pool, 2)

    class DeepSets(torch.nn.Module):
        """Dense layers for each point, a pool, dense layers for the set."""

        def __init__(self, model: models.DeepSets, channels: int) -> None:
            super().__init__()
            nn, before, self.pool = torch.nn, channels, model.pool
            phi: Layers = []
            for width in model.phi:
                phi += [nn.Linear(before, width), nn.ReLU()]
                before = width
            rho: Layers = []
            for width in model.rho:
                rho += [nn.Linear(before, width), nn.ReLU(), nn.Dropout(model.dropout)]
                before = width
            self.phi = nn.Sequential(*phi)
            self.rho = nn.Sequential(*rho, nn.Linear(before, model.num_classes))

        def forward(self, x: "torch.Tensor") -> "torch.Tensor":
            return self.rho(_pooled(self.phi(x.movedim(1, 2)), self.pool, 1))

    class DGCNN(torch.nn.Module):
        """Edge convolutions on neighbours in the features of each, side by side, one dense layer more, and a head."""

        def __init__(self, model: models.DGCNN, channels: int) -> None:
            super().__init__()
            nn, self.model, before = torch.nn, model, channels
            leaky = functools.partial(nn.LeakyReLU, 0.2)
            edges = []
            for width in model.widths:
                edges.append(EdgeConv(before, (width,), leaky, "max"))
                before = width
            self.edges = nn.ModuleList(edges)
            embed = nn.Linear(sum(model.widths), model.embedding, bias=False)
            self.embed = nn.Sequential(embed, PointNorm(model.embedding), leaky())
            head, before = [], 2 * model.embedding
            for width in model.dense:
                head += [nn.Linear(before, width, bias=False), PointNorm(width), leaky(), nn.Dropout(model.dropout)]
                before = width
            self.head = nn.Sequential(*head, nn.Linear(before, model.num_classes))

        def forward(self, x: "torch.Tensor") -> "torch.Tensor":
            x = x.movedim(1, 2)
            near = _nearest(x[..., : self.model.coordinates], self.model.k, include_self=True)
            features = []
            for i, edges in enumerate(self.edges):
                if i and self.model.dynamic:
                    near = _nearest(x, self.model.k, include_self=True)
                x = edges(x, near)
                features.append(x)
            x = self.embed(torch.cat(features, dim=-1))
            return self.head(torch.cat([x.amax(1), x.mean(1)], dim=-1))

    class ParticleBlock(torch.nn.Module):
        """Edge convolution with a shortcut, which is made first."""

        def __init__(self, before: int, widths: tuple[int, ...]) -> None:
            super().__init__()
            shortcut = torch.nn.Linear(before, widths[-1], bias=False)
            self.shortcut = torch.nn.Sequential(shortcut, PointNorm(widths[-1]))
            self.edges = EdgeConv(before, widths, torch.nn.ReLU, "mean")

        def forward(self, x: "torch.Tensor", near: "torch.Tensor") -> "torch.Tensor":
            return functional.relu(self.shortcut(x) + self.edges(x, near))

    class ParticleNet(torch.nn.Module):
        """Blocks on neighbours in the first channels, then in the features of the block before; mean; dense layers."""

        def __init__(self, model: models.ParticleNet, channels: int) -> None:
            super().__init__()
            nn, self.model, before = torch.nn, model, channels
            self.input_norm = PointNorm(channels)
            blocks = []
            for widths in model.widths:
                blocks.append(ParticleBlock(before, widths))
                before = widths[-1]
            self.blocks = nn.ModuleList(blocks)
            dense = (nn.Linear(before, model.dense), nn.ReLU(), nn.Dropout(model.dropout))
            self.head = nn.Sequential(*dense, nn.Linear(model.dense, model.num_classes))

        def forward(self, x: "torch.Tensor") -> "torch.Tensor":
            x = x.movedim(1, 2)
            near = _nearest(x[..., : self.model.coordinates], self.model.k)
            x = self.input_norm(x)
            for i, block in enumerate(self.blocks):
                x = block(x, _nearest(x, self.model.k) if i else near)
            return self.head(x.mean(1))

    made = (GraphNet, DeepSets, DGCNN, ParticleNet)
    return types.SimpleNamespace(**{kind.__name__: kind for kind in made})


def _pooled(x: "torch.Tensor", pool: str, axis: int) -> "torch.Tensor":
    return {"sum": x.sum, "mean": x.mean, "max": x.amax}[pool](axis)


def _nearest(x: "torch.Tensor", k: int, *, include_self: bool = False) -> "torch.Tensor":
    """(B, N, D) → (B, N, k) int64, the k nearest of each point of a set, without a gradient."""
    torch = require_torch()
    with torch.no_grad():
        distances = torch.cdist(x, x)
        distances.diagonal(dim1=1, dim2=2).fill_(0 if include_self else torch.inf)
        return distances.topk(k, largest=False, sorted=False).indices


_POINT_NETS: Mapping[type[nn.Module], str] = {
    models.DGCNN: "DGCNN",
    models.DeepSets: "DeepSets",
    models.ParticleNet: "ParticleNet",
}

# Model on graphs → how its twin takes edges, as far as is fast.
EDGE_LAYOUTS: Mapping[str, tuple[str, ...]] = {
    "gat": ("list",),
    "gcn": ("list", "sparse"),
    "gin": ("list", "sparse"),
    "graphsage": ("list", "sparse"),
}

# Names of the models that have a twin.
GRAPH_TWINS = tuple(name for name in zoo.names() if zoo.card(name).module in _CONVOLUTIONS)
POINT_TWINS = tuple(name for name in zoo.names() if zoo.card(name).module in _POINT_NETS)
