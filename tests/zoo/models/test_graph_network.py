"""Graph networks against loops over edges, nodes and graphs, written as the algorithm of the paper is."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jraph import GraphsTuple

import zoo
from zoo import taps
from zoo.models import GraphNetwork

SENDERS, RECEIVERS = np.array([0, 1, 2, 2, 4, 5]), np.array([1, 2, 0, 1, 5, 5])
N_NODE, N_EDGE = np.array([4, 2, 1]), np.array([4, 2, 0])
NODE_GRAPH, EDGE_GRAPH = np.repeat(range(3), N_NODE), np.repeat(range(3), N_EDGE)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def graphs(*, edges=3, globals=0):
    """Three graphs: a node without edges in the first, a loop in the second, no edge at all in the third."""
    return GraphsTuple(
        nodes=jnp.asarray(normal(0, 7, 2)),
        edges=jnp.asarray(normal(1, 6, edges)) if edges else None,
        senders=jnp.asarray(SENDERS),
        receivers=jnp.asarray(RECEIVERS),
        globals=jnp.asarray(normal(2, 3, globals)) if globals else None,
        n_node=jnp.asarray(N_NODE),
        n_edge=jnp.asarray(N_EDGE),
    )


@pytest.fixture
def net(key, randomise):
    """`net(graph, **options)` → model in float64 and random variables for graphs like it."""

    def build(graph, name="graph_network", **options):
        options = {"num_classes": 3, "width": 5, "norm": "none", "param_dtype": jnp.float64, **options}
        model = zoo.create(name, **options)
        return model, randomise(1, jax.eval_shape(model.init, key, graph))

    return build


def dense(layer, x):
    return x @ layer["kernel"] + layer.get("bias", 0)


def layer_norm(layer, x):
    centred = x - x.mean()
    return centred / np.sqrt(np.mean(centred**2) + 1e-6) * layer["scale"] + layer["bias"]


def collected(rows, how, width):
    return {"sum": np.sum, "mean": np.mean, "max": np.max}[how](rows, axis=0) if rows else np.zeros(width)


def literal_step(params, nodes, edges, everywhere, model, last):
    """Algorithm 1: updates of edges, nodes and globals, one by one."""

    def update(what, parts):
        x = sum(dense(params[f"{what}_{part}"], row) for part, row in parts.items() if row is not None)
        for i in itertools.count(2):
            if f"{what}{i}" not in params:
                break
            x = dense(params[f"{what}{i}"], np.maximum(x, 0))
        return layer_norm(params[f"{what}_norm"], x) if f"{what}_norm" in params else x

    def row(table, index):
        return None if table is None else table[index]

    new_edges = [
        update(
            "edges",
            {
                "edges": row(edges, k),
                "senders": nodes[s],
                "receivers": nodes[r],
                "globals": row(everywhere, EDGE_GRAPH[k]),
            },
        )
        for k, (s, r) in enumerate(zip(SENDERS, RECEIVERS, strict=True))
    ]
    new_nodes = []
    for i, own in enumerate(nodes):
        arrived = collected([new_edges[k] for k in np.flatnonzero(i == RECEIVERS)], model.aggregate, model.width)
        new_nodes.append(update("nodes", {"nodes": own, "edges": arrived, "globals": row(everywhere, NODE_GRAPH[i])}))
    if not model.use_globals or (last and model.readout != "graph"):
        return np.array(new_nodes), np.array(new_edges), None
    new_globals = []
    for g in range(3):
        of_nodes = collected([new_nodes[i] for i in np.flatnonzero(g == NODE_GRAPH)], model.aggregate, model.width)
        of_edges = collected([new_edges[k] for k in np.flatnonzero(g == EDGE_GRAPH)], model.aggregate, model.width)
        new_globals.append(update("globals", {"nodes": of_nodes, "edges": of_edges, "globals": row(everywhere, g)}))
    return np.array(new_nodes), np.array(new_edges), np.array(new_globals)


def literal(model, variables, graph):
    params = jax.tree.map(np.asarray, variables["params"])
    state = [None if part is None else np.asarray(part) for part in (graph.nodes, graph.edges, graph.globals)]
    if not model.use_globals:
        state[2] = None
    if model.encode:
        names = ("encode_nodes", "encode_edges", "encode_globals")
        state = [None if x is None else dense(params[name], x) for name, x in zip(names, state, strict=True)]
    for i in range(1, model.layers + 1):
        new = literal_step(params[f"step{i}"], *state, model, i == model.layers)
        added = model.residual and (model.encode or i > 1)
        state = [b if a is None or b is None or not added else a + b for a, b in zip(state, new, strict=True)]
    nodes, edges, everywhere = state
    if model.readout == "nodes":
        x = nodes
    elif model.readout == "edges":
        x = dense(params["pair_senders"], nodes[SENDERS]) + dense(params["pair_receivers"], nodes[RECEIVERS])
        x = np.maximum(x + dense(params["pair_edges"], edges), 0)
    else:
        rows = [[nodes[i] for i in np.flatnonzero(g == NODE_GRAPH)] for g in range(3)]
        x = np.array([collected(row, model.pool, model.width) for row in rows])
        x = x if everywhere is None else np.concatenate([x, everywhere], axis=1)
    return dense(params["head"], x)


@pytest.mark.parametrize(
    ("name", "kind", "options"),
    [
        ("graph_network", {"globals": 2}, {"norm": "layer", "pool": "max"}),
        ("graph_network", {}, {"readout": "nodes", "aggregate": "mean"}),
        ("graph_network", {"edges": 0}, {"readout": "edges", "aggregate": "max", "depth": 1}),
        ("graph_network", {"globals": 2}, {"encode": False, "layers": 3, "depth": 3}),
        ("graph_network", {"globals": 2}, {"use_globals": False, "readout": "edges"}),
        ("interaction_network", {"globals": 2}, {}),
        ("interaction_network", {"edges": 0}, {"layers": 2, "readout": "nodes"}),
    ],
)
def test_it_is_the_algorithm_of_the_paper(name, kind, options, net, x64, close):
    graph = graphs(**kind)
    model, variables = net(graph, name, **options)
    # Sums of a dozen terms, a few layers deep.
    close(jax.jit(model.apply)(variables, graph), literal(model, variables, graph), 1e-12)


def test_types_are_rows_of_a_table(net, x64):
    types = np.array([0, 2, 1, 1, 0, 2])
    graph = graphs()._replace(edges=jnp.asarray(types))
    model, variables = net(graph, edge_types=3)
    table = variables["params"]["encode_edges"]["embedding"]
    assert table.shape == (3, 5)
    params = {**variables["params"], "encode_edges": {"kernel": jnp.eye(5), "bias": jnp.zeros(5)}}
    expected = model.clone(edge_types=0).apply({"params": params}, graph._replace(edges=table[types]))
    np.testing.assert_allclose(model.apply(variables, graph), expected, rtol=1e-12)


def test_globals_reach_everything_in_the_second_step_and_nothing_without_them(net, x64):
    """The first node of each graph as seen by the last one, which no edge leads to."""
    graph = graphs()._replace(n_node=jnp.array([7]), n_edge=jnp.array([6]))

    def slope(layers, **options):
        model, variables = net(graph, layers=layers, readout="nodes", **options)
        outputs = lambda nodes: model.apply(variables, graph._replace(nodes=nodes))[6]
        return np.any(np.asarray(jax.jacobian(outputs)(graph.nodes))[:, 0] != 0)

    assert [slope(1), slope(2), slope(2, use_globals=False)] == [False, True, False]


def test_directions_count(net, x64):
    graph = graphs(edges=0)
    model, variables = net(graph)
    turned = graph._replace(senders=graph.receivers, receivers=graph.senders)
    run = jax.jit(model.apply)
    assert np.max(np.abs(run(variables, graph)[:2] - run(variables, turned)[:2])) > 1e-2
    assert np.array_equal(run(variables, graph)[2], run(variables, turned)[2])


@pytest.mark.parametrize("name", ["graph_network", "interaction_network"])
def test_graphs_without_edges_and_without_nodes_have_a_result(name, net, x64):
    graph = graphs(edges=0)
    model, variables = net(graph, name)
    none = jnp.zeros(0, int)
    alone = graph._replace(senders=none, receivers=none, n_edge=jnp.zeros(3, int))
    assert np.all(np.isfinite(model.apply(variables, alone)))
    nothing = alone._replace(nodes=jnp.zeros((0, 2)), n_node=jnp.zeros(3, int))
    outputs = model.apply(variables, nothing)
    assert outputs.shape == (3, 3) and np.all(np.isfinite(outputs)) and np.ptp(outputs, axis=0).max() == 0


def test_layers_have_their_names(net, x64):
    graph = graphs(globals=2)
    model, variables = net(graph)
    layers = ["nodes1", "edges1", "globals1", "nodes2", "step2", "pooled", "head"]
    outputs, read = taps.read(model, variables, graph, layers)
    assert [read[name].shape for name in layers[:4]] == [(7, 5), (6, 5), (3, 5), (7, 5)]
    assert read["pooled"].shape == (3, 10) and np.array_equal(read["head"], outputs)
    # What is added is the step's output.
    assert np.array_equal(read["nodes2"], read["nodes1"] + read["step2"][0])


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"layers": 0}, ["layers 0", "at least 1"]),
        ({"depth": 0}, ["depth 0", "at least 1"]),
        ({"aggregate": "median"}, ["aggregate must be 'sum', 'mean' or 'max', got 'median'"]),
        ({"readout": "steps"}, ["readout must be 'graph', 'nodes' or 'edges', got 'steps'"]),
        ({"pool": "last"}, ["pool must be 'sum', 'mean', 'max' or 'attention', got 'last'"]),
        ({"norm": "group"}, ["norm must be 'none', 'batch' or 'layer', got 'group'"]),
        ({"edge_types": 2}, ["types (E,), whole numbers", "(6, 3)"]),
        ({"in_channels": 3}, ["in_channels=3", "2 channels"]),
    ],
)
def test_what_cannot_be_meant_is_refused(options, parts, key):
    with pytest.raises(ValueError) as caught:
        jax.eval_shape(GraphNetwork(**{"num_classes": 2, **options}).init, key, graphs())
    assert [part for part in parts if part not in str(caught.value)] == []
