"""GCN, GraphSAGE, GATv2 and GIN against PyTorch Geometric with the same weights: outputs, gradients, one step of SGD.

The networks of PyG are put together of its layers, convolution, normalisation, rectifier, pool, dense layer, in
`zoo_experiments.verbs.graph_twins`. Conventions that differ: PyG keeps matrices as (out, in); its GATv2 has a bias in
the product of the senders too, which is taken out; its BatchNorm is PyTorch's (tests/parity/test_models_torch.py). In
float64 all tensors agree to 1e-10 of their norm: rounding is 1e-16, sums have some dozen terms added in another order.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jraph import GraphsTuple

import zoo
from zoo.errors import UserError, WeightsError
from zoo_experiments.verbs.graph_twins import (
    GRAPH_TWINS,
    as_geometric,
    as_tensors,
    geometric_names,
    graph_twin,
    load_geometric,
)

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

CASES = {
    "gcn": ("gcn", {}, None),
    "gcn of weights": ("gcn", {"edge_weights": True}, 1),
    "graphsage": ("graphsage", {"pool": "max"}, None),
    "gat": ("gat", {"heads": HEADS}, None),
    "gat of features": ("gat", {"heads": HEADS, "edge_features": True, "pool": "sum"}, 5),
    "gin": ("gin", {"jump": False}, None),
    "gcn, normalised": ("gcn", {"norm": "batch", "readout": "nodes"}, None),
    "gin, side by side": ("gin", {"norm": "none", "jump": True}, None),
}


def flat(tree):
    return {tuple(entry.key for entry in path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


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
    nodes, labels = draw.normal(size=(12, CHANNELS)), draw.integers(0, CLASSES, 12 if options.get("readout") else 3)
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

    net = graph_twin(model, CHANNELS, edge_channels).double()
    load_geometric(net, model, variables)
    names, arrays, inputs = geometric_names(net, model, variables), flat(variables), as_tensors(graph)
    tensors = {key for key in net.state_dict() if not key.endswith("num_batches_tracked")}
    assert sorted(names.values()) == sorted(tensors) and set(names) == set(arrays)
    net.eval()
    with torch.no_grad():
        assert_same(jax.jit(model.apply)(variables, graph), net(*inputs).numpy(), "evaluation")

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
    optimiser = torch.optim.SGD(net.parameters(), lr=RATE)
    expected = torch.nn.functional.cross_entropy(net(*inputs), torch.from_numpy(labels))
    expected.backward()
    slopes = {key: p.grad.numpy().copy() for key, p in net.named_parameters()}
    optimiser.step()
    after = {key: tensor.numpy() for key, tensor in net.state_dict().items()}
    assert_same(value, expected.detach().numpy(), "loss")
    for path, slope in flat({"params": gradients}).items():
        assert_same(as_geometric(path, slope), slopes[names[path]], f"gradient of {path}")
    for path, leaf in flat({"params": params}).items():
        assert_same(as_geometric(path, leaf), after[names[path]], f"{path} after the step")
    for path, leaf in flat({"batch_stats": stats}).items():
        old = arrays[path]
        # Ours keeps the biased variance of the twelve nodes.
        unbiased = 0.9 * old + (leaf - 0.9 * old) * (12 / 11 if path[-1] == "var" else 1)
        assert_same(unbiased, after[names[path]], f"{path} after the step")


def test_all_of_them_have_a_case():
    assert {name for name, _, _ in CASES.values()} == set(GRAPH_TWINS)


def test_what_has_no_twin_says_so():
    with pytest.raises(UserError, match=r"GraphNetwork has no twin; there are twins of: gat, gcn, gin, graphsage"):
        graph_twin(zoo.create("graph_network", num_classes=2), 4)
    for options, words in (
        ({"readout": "edges"}, "have readout 'graph' or 'nodes'; got 'edges'"),
        ({"edge_types": 2}, "edge_types 0; got 2"),
        ({"norm": "layer"}, "norm 'none' or 'batch'; got 'layer'"),
    ):
        with pytest.raises(UserError, match=words):
            graph_twin(zoo.create("gcn", num_classes=2, **options), 4)


def test_weights_of_another_network_are_refused():
    graph = GraphsTuple(np.ones((12, CHANNELS), np.float32), None, RECEIVERS, SENDERS, None, N_NODE, N_EDGE)
    wide, narrow = (zoo.create("gcn", num_classes=2, width=width) for width in (6, 5))
    net, variables = graph_twin(wide, CHANNELS), narrow.init(jax.random.key(0), graph)
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    with pytest.raises(WeightsError, match=r"params/layer1/dense/kernel \(4, 5\), there layer1.lin.weight"):
        load_geometric(net, narrow, variables)
    variables["params"].pop("head")
    with pytest.raises(WeightsError, match=r"head.bias there, and nothing here"):
        load_geometric(net, narrow, variables)
    for key, tensor in net.state_dict().items():
        assert (tensor == before[key]).all(), key
