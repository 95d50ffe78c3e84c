"""GCN, GraphSAGE, GIN and GAT against dense matrices and loops, and what no message-passing network can see."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jraph import GraphsTuple

import zoo
from zoo import taps

# Two graphs: in the first a node that nothing reaches and two edges from one node to another, in the second a loop.
SENDERS, RECEIVERS = np.array([0, 0, 1, 2, 2, 1, 5, 6, 6]), np.array([1, 1, 2, 0, 1, 0, 6, 5, 6])
N_NODE, N_EDGE = np.array([4, 3]), np.array([6, 3])
NODE_GRAPH = np.repeat(range(2), N_NODE)
NAMES = ("gcn", "graphsage", "gin", "gat")


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def graphs(channels=2, edges=None):
    return GraphsTuple(
        nodes=jnp.asarray(normal(0, 7, channels)),
        edges=None if edges is None else jnp.asarray(edges),
        senders=jnp.asarray(SENDERS),
        receivers=jnp.asarray(RECEIVERS),
        globals=None,
        n_node=jnp.asarray(N_NODE),
        n_edge=jnp.asarray(N_EDGE),
    )


@pytest.fixture
def net(key, randomise):
    """`net(name, graph, **options)` → model in float64 and random variables for graphs like it."""

    def build(name, graph, **options):
        options = {"num_classes": 3, "width": 6, "layers": 2, "jump": False, "param_dtype": jnp.float64, **options}
        model = zoo.create(name, **options)
        return model, randomise(1, jax.eval_shape(model.init, key, graph))

    return build


def relu(x):
    return np.maximum(x, 0)


def adjacency(weights):
    """Entry (receiver, sender), summed over the edges between them."""
    matrix = np.zeros((7, 7))
    np.add.at(matrix, (RECEIVERS, SENDERS), weights)
    return matrix


def spread(layer, x, matrix_of, edges):
    """Messages x of each type, times the weights of the type, summed by the matrix of its edges."""
    if "types" not in layer:
        return matrix_of(np.ones(9)) @ x
    return sum(matrix_of(edges == t) @ (x * gate) for t, gate in enumerate(layer["types"]))


def normalised(variables, name, x):
    """Batch normalisation in evaluation."""
    params, stats = variables["params"], variables["batch_stats"]
    for part in name.split("/"):
        params, stats = params[part], stats[part]
    return (x - stats["mean"]) / np.sqrt(stats["var"] + 1e-5) * params["scale"] + params["bias"]


def gcn(layer, x, edges, model, **_):
    weights = edges[:, 0] if model.edge_weights else np.ones(9)
    scale = np.diag((adjacency(weights).sum(1) + 1) ** -0.5)
    matrix_of = lambda which: scale @ adjacency(weights * which) @ scale
    h = x @ layer["dense"]["kernel"]
    return spread(layer, h, matrix_of, edges) + scale @ scale @ h + layer.get("bias", 0)


def graphsage(layer, x, edges, **_):
    matrix_of = lambda which: adjacency(which) / np.maximum(adjacency(np.ones(9)).sum(1, keepdims=True), 1)
    around = spread(layer, x @ layer["neighbours"]["kernel"], matrix_of, edges)
    return x @ layer["self"]["kernel"] + around + layer.get("bias", 0)


def gin(layer, x, edges, number, variables, **_):
    h = x @ layer["dense1"]["kernel"]
    h = (1 + layer["eps"]) * h + spread(layer, h, adjacency, edges)
    h = h + layer["bias1"] if "bias1" in layer else normalised(variables, f"layer{number}/norm", h)
    return relu(h) @ layer["dense2"]["kernel"] + layer["dense2"].get("bias", 0)


def gat(layer, x, edges, model, last, **_):
    heads, channels = layer["query"].shape
    sent = (x @ layer["senders"]["kernel"]).reshape(7, heads, channels)
    got = (x @ layer["receivers"]["kernel"] + layer["receivers"]["bias"]).reshape(7, heads, channels)
    out = np.zeros((7, heads, channels))
    for i in range(7):
        rows = np.flatnonzero(i == RECEIVERS)
        values = [sent[SENDERS[k]] for k in rows]
        if "types" in layer:
            values = [v * layer["types"][edges[k]].reshape(heads, channels) for k, v in zip(rows, values, strict=True)]
        values = np.array([*values, sent[i]])
        keys = values + got[i]
        if model.edge_features:
            features = edges[rows]
            features = np.vstack([features, features.mean(0) if len(rows) else np.zeros(edges.shape[1])])
            keys = keys + (features @ layer["edges"]["kernel"]).reshape(-1, heads, channels)
        scores = np.exp((np.where(keys > 0, keys, 0.2 * keys) * layer["query"]).sum(-1))
        out[i] = (values * (scores / scores.sum(0))[..., None]).sum(0)
    return (out.mean(1) if last else out.reshape(7, -1)) + layer.get("bias", 0)


LITERAL = {"gcn": gcn, "graphsage": graphsage, "gin": gin, "gat": gat}


def literal(name, model, variables, graph):
    variables = jax.tree.map(np.asarray, variables)
    params, x = variables["params"], np.asarray(graph.nodes)
    edges = None if graph.edges is None else np.asarray(graph.edges)
    kept = [x]
    for i in range(1, model.layers + 1):
        last = model.head == "layer" and i == model.layers
        layer = params[f"layer{i}"]
        x = LITERAL[name](layer, x, edges, model=model, variables=variables, number=i, last=last)
        if last:
            break
        x = normalised(variables, f"norm{i}", x) if model.norm == "batch" else x
        x = np.where(x > 0, x, np.expm1(x)) if name == "gat" else relu(x)
        kept.append(x)
    x = np.concatenate(kept, axis=1) if model.jump else x
    if model.readout == "edges":
        x = x[SENDERS] @ params["pair_senders"]["kernel"] + x[RECEIVERS] @ params["pair_receivers"]["kernel"]
        x = relu(x + params["pair_senders"]["bias"])
    if model.readout == "graph":
        x = np.stack([pooled(x[g == NODE_GRAPH], model.pool, params) for g in range(2)])
    return x if model.head == "layer" else x @ params["head"]["kernel"] + params["head"]["bias"]


def pooled(rows, pool, params):
    if pool == "attention":
        weights = np.exp(np.tanh(rows) @ params["attention"]["kernel"])
        return (rows * weights / weights.sum()).sum(0)
    return {"sum": np.sum, "mean": np.mean, "max": np.max}[pool](rows, axis=0)


CASES = [
    # Fewer channels after the first layer than before it, and more: the product comes before the edges or after them.
    *[(name, channels, None, {}) for name in NAMES for channels in (2, 9)],
    *[(name, 2, "types", {"edge_types": 3, "pool": "attention"}) for name in NAMES],
    *[(name, 2, None, {"head": "layer", "readout": "nodes"}) for name in NAMES],
    *[(name, 2, None, {"norm": "batch", "jump": True, "pool": "max"}) for name in NAMES],
    ("gcn", 2, "weights", {"edge_weights": True, "readout": "edges"}),
    ("gcn", 2, None, {"head": "layer", "pool": "sum"}),
    ("gin", 2, None, {"norm": "none", "readout": "nodes"}),
    ("gat", 2, "features", {"edge_features": True, "heads": 2, "readout": "nodes"}),
    ("gat", 2, None, {"head": "layer", "output_heads": 4, "heads": 3, "readout": "nodes"}),
]
EDGES = {
    None: None,
    "types": np.random.default_rng(3).integers(0, 3, 9),
    "weights": np.random.default_rng(3).uniform(0.2, 2, (9, 1)),
    "features": np.random.default_rng(3).normal(size=(9, 2)),
}


@pytest.mark.parametrize(("name", "channels", "kind", "options"), CASES)
def test_layers_are_dense_matrices_and_loops(name, channels, kind, options, net, x64, close):
    graph = graphs(channels, EDGES[kind])
    model, variables = net(name, graph, **({"heads": 2} if name == "gat" else {}) | options)
    # Sums of a dozen terms, two layers deep.
    close(jax.jit(model.apply)(variables, graph), literal(name, model, variables, graph), 1e-12)


def test_gcn_is_a_matrix_by_hand(x64):
    """Two nodes joined both ways: D^-½ (A + I) D^-½ is ½ everywhere."""
    graph = GraphsTuple(
        nodes=jnp.array([[1.0], [3.0]]), edges=None, senders=jnp.array([0, 1]), receivers=jnp.array([1, 0]),
        globals=None, n_node=jnp.array([2]), n_edge=jnp.array([2]),
    )  # fmt: skip
    model = zoo.create("gcn", num_classes=1, layers=1, head="layer", readout="nodes", param_dtype=jnp.float64)
    params = {"layer1": {"dense": {"kernel": jnp.array([[3.0]])}, "bias": jnp.array([0.5])}}
    np.testing.assert_allclose(model.apply({"params": params}, graph), [[6.5], [6.5]], rtol=1e-15)


def test_an_edge_of_weight_zero_is_none(net, x64, close):
    weights = np.where(np.arange(9) % 3 == 0, 0.0, 1.0)
    graph = graphs(edges=weights[:, None])
    model, variables = net("gcn", graph, edge_weights=True, readout="nodes")
    kept = weights > 0
    fewer = graph._replace(
        senders=graph.senders[kept], receivers=graph.receivers[kept], edges=None, n_edge=jnp.array([4, 2])
    )
    close(model.apply(variables, graph), model.clone(edge_weights=False).apply(variables, fewer), 1e-13)


@pytest.mark.parametrize("name", NAMES)
def test_types_are_all_the_same_at_the_beginning(name, key, x64, close):
    graph = graphs(edges=EDGES["types"])
    model = zoo.create(name, num_classes=3, width=8, edge_types=3, param_dtype=jnp.float64)
    variables = jax.jit(model.init)(key, graph)
    layers = {layer: dict(part) for layer, part in variables["params"].items()}
    assert all(np.all(layers[f"layer{i}"].pop("types") == 1) for i in (1, 2))
    expected = model.clone(edge_types=0).apply({**variables, "params": layers}, graph._replace(edges=None))
    close(model.apply(variables, graph), expected, 1e-12)


def line(size, channels=1):
    """0 → 1 → 2 → …"""
    return GraphsTuple(
        nodes=jnp.asarray(normal(0, size, channels)), edges=None, senders=jnp.arange(size - 1),
        receivers=jnp.arange(1, size), globals=None, n_node=jnp.array([size]), n_edge=jnp.array([size - 1]),
    )  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_layer_sees_one_edge_farther_along_the_arrows(name, net, x64):
    graph = line(5)
    model, variables = net(name, graph, layers=2, readout="nodes", norm="none", **_heads(name))
    outputs = lambda nodes: model.apply(variables, graph._replace(nodes=nodes))
    slopes = jax.jit(jax.jacobian(outputs))(graph.nodes)
    seen = np.any(np.asarray(slopes) != 0, axis=(1, 3))
    assert seen.tolist() == [[i - 2 <= j <= i for j in range(5)] for i in range(5)]


def _heads(name):
    return {"heads": 2} if name == "gat" else {}


@pytest.mark.parametrize("name", [*NAMES, "graph_network"])
def test_two_triangles_look_like_a_hexagon(name, key, x64, close):
    """Xu+19: what the Weisfeiler–Lehman test cannot tell apart, no message passing can."""
    ring = lambda size: (np.arange(size), (np.arange(size) + 1) % size)
    triangles = np.concatenate([ring(3), np.add(ring(3), 3)], axis=1)

    def graph(ends):
        senders, receivers = np.concatenate([ends, ends[::-1]], axis=1)
        return GraphsTuple(
            nodes=jnp.ones((6, 1)), edges=None, senders=jnp.asarray(senders), receivers=jnp.asarray(receivers),
            globals=None, n_node=jnp.array([6]), n_edge=jnp.array([12]),
        )  # fmt: skip

    model = zoo.create(name, num_classes=2, width=8, param_dtype=jnp.float64)
    run = jax.jit(model.apply)
    variables = jax.jit(model.init)(key, graph(triangles))
    outputs = run(variables, graph(np.array(ring(6))))
    close(run(variables, graph(triangles)), outputs, 1e-12)
    assert np.any(outputs != 0)


@pytest.mark.parametrize("name", NAMES)
def test_graphs_without_edges_and_without_nodes_have_a_result(name, net, x64):
    graph = graphs()
    model, variables = net(name, graph, **_heads(name))
    none = jnp.zeros(0, int)
    alone = graph._replace(senders=none, receivers=none, n_edge=jnp.zeros(2, int))
    assert np.all(np.isfinite(model.apply(variables, alone)))
    nothing = alone._replace(nodes=jnp.zeros((0, 2)), n_node=jnp.zeros(2, int))
    # The head of zeros.
    expected = np.broadcast_to(variables["params"]["head"]["bias"], (2, 3))
    assert np.array_equal(model.apply(variables, nothing), expected)


def test_attention_sums_to_one_and_is_a_tap(net, x64):
    graph = graphs()
    model, variables = net("gat", graph, heads=2)
    _, read = taps.read(model, variables, graph, ["layer1/weights", "nodes1", "pooled"])
    weights = np.asarray(read["layer1/weights"])
    assert weights.shape == (9 + 7, 2) and read["nodes1"].shape == (7, 6) and read["pooled"].shape == (2, 6)
    total = np.zeros((7, 2))
    np.add.at(total, np.concatenate([RECEIVERS, np.arange(7)]), weights)
    np.testing.assert_allclose(total, 1, rtol=1e-14)
    # Nothing arrives at the fourth and the fifth node but themselves.
    assert np.array_equal(weights[9 + 3], [1, 1]) and np.array_equal(weights[9 + 4], [1, 1])


@pytest.mark.parametrize("option", ["dropout", "input_dropout", "attention_dropout"])
def test_each_dropout_acts_in_training_alone(option, net, x64, key):
    graph = graphs()
    model, variables = net("gat", graph, heads=2, readout="nodes")
    noisy = model.clone(**{option: 0.5})
    run = jax.jit(lambda key: noisy.apply(variables, graph, train=True, rngs={"dropout": key}))
    assert np.array_equal(noisy.apply(variables, graph), model.apply(variables, graph))
    assert np.array_equal(run(key), run(key)) and not np.allclose(run(key), run(jax.random.fold_in(key, 1)))


@pytest.mark.parametrize(
    ("name", "options", "parts"),
    [
        ("gcn", {"layers": 0}, ["layers 0", "at least 1"]),
        ("gcn", {"edge_types": -1}, ["edge_types -1 at least 0"]),
        ("gcn", {"head": "mlp"}, ["head must be 'dense' or 'layer', got 'mlp'"]),
        ("gcn", {"head": "layer", "jump": True}, ["head='layer'", "set head='dense'"]),
        ("gcn", {"head": "layer", "readout": "edges"}, ["head='layer'", "set head='dense'"]),
        ("gcn", {"readout": "steps"}, ["readout must be 'graph', 'nodes' or 'edges', got 'steps'"]),
        ("gin", {"pool": "last"}, ["pool must be 'sum', 'mean', 'max' or 'attention', got 'last'"]),
        ("gin", {"norm": "group"}, ["norm must be 'none', 'batch' or 'layer', got 'group'"]),
        ("gcn", {"edge_weights": True}, ["weights (E, 1)", "E = 9", "got None"]),
        ("gcn", {"edge_weights": True, "edge_types": 2}, ["either weights or types"]),
        ("gat", {"heads": 3, "width": 8}, ["heads 3", "width 8 a multiple"]),
        ("gat", {"edge_features": True}, ["edge_features=True takes floating edges", "edge_features=False"]),
        ("graphsage", {"edge_types": 2}, ["types (E,), whole numbers", "got None"]),
        ("graphsage", {"in_channels": 3}, ["in_channels=3", "2 channels"]),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(name, options, parts, key):
    graph = graphs()
    if options.get("edge_weights") and options.get("edge_types"):
        graph = graphs(edges=EDGES["types"])
    with pytest.raises(ValueError) as caught:
        jax.eval_shape(zoo.create(name, **{"num_classes": 2, **options}).init, key, graph)
    assert [part for part in parts if part not in str(caught.value)] == []
