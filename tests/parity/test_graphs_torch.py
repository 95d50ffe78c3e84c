"""GCN, GraphSAGE, GATv2 and GIN against PyTorch Geometric with the same weights: outputs, gradients, one step of SGD.

The networks of PyG are put together here of its layers: convolution, normalisation, rectifier, pool, dense layer.
Conventions that differ: PyG keeps matrices as (out, in); its GATv2 has a bias in the product of the senders too, held
at zero here; its BatchNorm is PyTorch's (tests/parity/test_models_torch.py). In float64 all tensors agree to 1e-10 of
their norm: rounding is 1e-16, sums have some dozen terms added in another order.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jraph import GraphsTuple

import zoo

# PyG compiles some of itself, when imported, in a way that PyTorch warns of.
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")]

TOLERANCE, RATE = 1e-10, 0.1
CHANNELS, CLASSES, WIDTH, HEADS = 4, 3, 6, 2

# Directed edges of three graphs, the last of which has none; no self-loops and no edge twice: PyG replaces the former.
N_NODE, N_EDGE = np.array([6, 5, 1]), np.array([14, 9, 0])


def _edges():
    draw, ends, first = np.random.default_rng(0), [], 0
    for size, count in zip(N_NODE, N_EDGE, strict=True):
        pairs = np.array([(s, r) for s in range(size) for r in range(size) if s != r], int).reshape(-1, 2)
        ends.append(first + draw.permutation(pairs)[:count])
        first += size
    return np.concatenate(ends).T


SENDERS, RECEIVERS = _edges()
GRAPH_OF_NODE = np.repeat(range(3), N_NODE)

CASES = {
    "gcn": ("gcn", {}, None),
    "gcn of weights": ("gcn", {"edge_weights": True}, 1),
    "graphsage": ("graphsage", {"pool": "max"}, None),
    "gat": ("gat", {"heads": HEADS}, None),
    "gat of features": ("gat", {"heads": HEADS, "edge_features": True, "pool": "sum"}, 5),
    "gin": ("gin", {"jump": False}, None),
}


def conv(name, before, edge_channels):
    from torch import nn
    from torch_geometric import nn as pyg

    if name == "gcn":
        return pyg.GCNConv(before, WIDTH)
    if name == "graphsage":
        return pyg.SAGEConv(before, WIDTH)
    if name == "gat":
        return pyg.GATv2Conv(before, WIDTH // HEADS, heads=HEADS, edge_dim=edge_channels)
    mlp = (nn.Linear(before, WIDTH, bias=False), nn.BatchNorm1d(WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH, bias=False))
    return pyg.GINConv(nn.Sequential(*mlp), train_eps=True)


def network(name, pool, edge_channels):
    """Convolutions `layer{i}`, normalisations `norm{i}` and `head`, and the function of nodes and edges."""
    import torch
    from torch_geometric import nn as pyg

    net = torch.nn.Module()
    for i, before in ((1, CHANNELS), (2, WIDTH)):
        net.add_module(f"layer{i}", conv(name, before, edge_channels))
        net.add_module(f"norm{i}", torch.nn.BatchNorm1d(WIDTH) if name == "gin" else torch.nn.Identity())
    net.head = torch.nn.Linear(WIDTH, CLASSES)
    pools = {"mean": pyg.global_mean_pool, "max": pyg.global_max_pool, "sum": pyg.global_add_pool}

    def forward(x, edges):
        for i in (1, 2):
            more = {} if edges is None else {"edge_weight" if name == "gcn" else "edge_attr": edges}
            if name == "gcn" and edges is not None:
                more["edge_weight"] = edges[:, 0]
            x = getattr(net, f"layer{i}")(x, torch.from_numpy(np.stack([SENDERS, RECEIVERS])), **more)
            x = getattr(net, f"norm{i}")(x)
            x = torch.nn.functional.elu(x) if name == "gat" else torch.relu(x)
        return net.head(pools[pool](x, torch.from_numpy(GRAPH_OF_NODE), size=3))

    return net.double(), forward


# Ours within a layer → theirs.
LAYERS = {
    "gcn": {"dense/kernel": "lin.weight", "bias": "bias"},
    "graphsage": {"self/kernel": "lin_r.weight", "neighbours/kernel": "lin_l.weight", "bias": "lin_l.bias"},
    "gat": {
        "senders/kernel": "lin_l.weight",
        "receivers/kernel": "lin_r.weight",
        "receivers/bias": "lin_r.bias",
        "edges/kernel": "lin_edge.weight",
        "query": "att",
        "bias": "bias",
    },
    "gin": {
        "eps": "eps",
        "dense1/kernel": "nn.0.weight",
        "norm/scale": "nn.1.weight",
        "norm/bias": "nn.1.bias",
        "norm/mean": "nn.1.running_mean",
        "norm/var": "nn.1.running_var",
        "dense2/kernel": "nn.3.weight",
    },
}


def their_name(name, path):
    """Name in PyG's network of an array of ours, whose path has no collection in front."""
    first, rest = path.split("/", 1)
    if first.startswith("layer"):
        return f"{first}.{LAYERS[name][rest]}"
    ours = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
    return f"{first}.{ours.get(rest, rest)}"


def theirs_of(path, value):
    value = np.asarray(value)
    if path.endswith("kernel"):
        return value.T
    return value[None] if path.endswith("query") else value.reshape(1) if path.endswith("eps") else value


def flat(tree):
    return {"/".join(entry.key for entry in path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


def assert_same(got, expected, what):
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape, what
    error = np.linalg.norm(np.ravel(got - expected)) / np.linalg.norm(np.ravel(expected))
    assert error <= TOLERANCE, (what, error)


@pytest.mark.parametrize("case", CASES)
def test_outputs_gradients_and_a_step_are_those_of_pyg(case, x64):
    import torch

    name, options, edge_channels = CASES[case]
    draw = np.random.default_rng(1)
    nodes, labels = draw.normal(size=(12, CHANNELS)), draw.integers(0, CLASSES, 3)
    edges = None if edge_channels is None else draw.uniform(0.2, 2, (23, edge_channels))
    graph = GraphsTuple(nodes, edges, RECEIVERS, SENDERS, None, N_NODE, N_EDGE)
    model = zoo.create(name, num_classes=CLASSES, width=WIDTH, layers=2, **options, param_dtype=jnp.float64)
    shapes = jax.eval_shape(model.init, jax.random.key(0), graph)
    variables = jax.tree.map_with_path(
        lambda path, leaf: (
            draw.uniform(0.5, 1.5, leaf.shape) if path[-1].key in ("scale", "var") else draw.normal(0, 0.5, leaf.shape)
        ),
        shapes,
    )

    net, forward = network(name, model.pool, edge_channels)
    state = {key: tensor for key, tensor in net.state_dict().items() if not key.endswith("num_batches_tracked")}
    arrays = {path: leaf for tree in variables.values() for path, leaf in flat(tree).items()}
    placed = {their_name(name, path): theirs_of(path, leaf) for path, leaf in arrays.items()}
    extra = {"layer1.lin_l.bias", "layer2.lin_l.bias"} if name == "gat" else set()
    assert set(placed) | extra == set(state)
    with torch.no_grad():
        for key, tensor in state.items():
            tensor.copy_(torch.zeros_like(tensor) if key in extra else torch.from_numpy(np.array(placed[key])))

    inputs = (torch.from_numpy(nodes), None if edges is None else torch.from_numpy(edges))
    net.eval()
    with torch.no_grad():
        assert_same(jax.jit(model.apply)(variables, graph), forward(*inputs).numpy(), "evaluation")

    @jax.jit
    def step(variables):
        def loss(params):
            outputs, updates = model.apply({**variables, "params": params}, graph, train=True, mutable=["batch_stats"])
            return optax.softmax_cross_entropy_with_integer_labels(outputs, labels).mean(), updates

        (value, updates), gradients = jax.value_and_grad(loss, has_aux=True)(variables["params"])
        params = jax.tree.map(lambda leaf, slope: leaf - RATE * slope, variables["params"], gradients)
        return value, updates.get("batch_stats", {}), gradients, params

    value, stats, gradients, params = step(variables)
    net.train()
    optimiser = torch.optim.SGD([p for key, p in net.named_parameters() if key not in extra], lr=RATE)
    expected = torch.nn.functional.cross_entropy(forward(*inputs), torch.from_numpy(labels))
    expected.backward()
    slopes = {key: p.grad.numpy().copy() for key, p in net.named_parameters()}
    optimiser.step()
    after = {key: tensor.numpy() for key, tensor in net.state_dict().items()}
    assert_same(value, expected.detach().numpy(), "loss")
    for path, slope in flat(gradients).items():
        assert_same(theirs_of(path, slope), slopes[their_name(name, path)], f"gradient of {path}")
    for path, leaf in flat(params).items():
        assert_same(theirs_of(path, leaf), after[their_name(name, path)], f"{path} after the step")
    for path, leaf in flat(stats).items():
        old = arrays[path]
        # Ours keeps the biased variance of the twelve nodes.
        unbiased = 0.9 * old + (leaf - 0.9 * old) * (12 / 11 if path.endswith("var") else 1)
        assert_same(unbiased, after[their_name(name, path)], f"{path} after the step")
