"""Networks on sets of points against PyTorch Geometric and plain PyTorch, with the same weights, in float64.

In PyTorch Geometric points of all sets stand in one table without padding, and edges in a list; here they are padded
and masked. The twins of `zoo bench models` are dense and know no mask. In training mode, so that the statistics are
held to theirs too: outputs, gradients, running averages. Conventions that differ: PyTorch's running variance is divided
by n − 1, ours by n; its momentum 0.1 is our 0.9. All tensors agree to 1e-10 of their norm: rounding is 1e-16, and sums
of up to some 10³ terms are added in another order.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import zoo
from zoo.errors import UserError
from zoo.layers import EdgeConv, PointSet, k_nearest
from zoo.models import ParticleNet
from zoo_datasets.loading import neighbours as host
from zoo_experiments.verbs.graph_twins import POINT_TWINS, point_twin
from zoo_experiments.verbs.twins import links, load_from_flax, to_flax

pytestmark = pytest.mark.parity

TOLERANCE = 1e-10
SIZES = (7, 10, 5)
MASK = np.arange(10)[None] < np.array(SIZES)[:, None]


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def near(a, b):
    a, b = np.asarray(a), np.asarray(b)
    assert a.shape == b.shape
    assert np.linalg.norm(a - b) <= TOLERANCE * np.linalg.norm(b)


def edges_between(values, k):
    """(2, e): senders and receivers of the k nearest neighbours within each set of a table (n, D)."""
    starts = np.cumsum((0, *SIZES))
    parts = [np.stack(host.k_nearest(values[a:b], k)) + a for a, b in itertools.pairwise(starts)]
    return np.concatenate(parts, axis=1).astype(np.int64)


@pytest.fixture
def geometric(x64):
    torch = pytest.importorskip("torch")
    return torch, pytest.importorskip("torch_geometric.nn")


def linear(torch, kernel, bias=None):
    layer = torch.nn.Linear(*kernel.shape, bias=bias is not None).double()
    layer.weight.data = torch.tensor(np.array(kernel).T.copy())
    if bias is not None:
        layer.bias.data = torch.tensor(np.array(bias))
    return layer


def norm(torch, params):
    layer = torch.nn.BatchNorm1d(len(params["scale"])).double()
    layer.weight.data, layer.bias.data = torch.tensor(np.array(params["scale"])), torch.tensor(np.array(params["bias"]))
    return layer


def edge_conv(torch, pyg, params, pool, activation):
    layers = []
    for i in range(1, len(params) // 2 + 1):
        layers += [linear(torch, params[f"dense{i}"]["kernel"]), norm(torch, params[f"norm{i}"]), activation()]
    # It draws the weights of what it is made with anew.
    conv = pyg.EdgeConv(torch.nn.Identity(), aggr=pool)
    conv.nn = torch.nn.Sequential(*layers)
    return conv


def drawn(shapes):
    draw = np.random.default_rng(3)

    def one(path, leaf):
        kind = path[-1].key
        if kind == "kernel":
            return draw.normal(0, np.sqrt(2 / leaf.shape[0]), leaf.shape)
        return draw.uniform(0.5, 1.5, leaf.shape) if kind == "scale" else draw.normal(0, 0.3, leaf.shape)

    # Running averages begin as PyTorch's.
    start = {"mean": 0.0, "var": 1.0}
    stats = jax.tree.map_with_path(lambda path, leaf: np.full(leaf.shape, start[path[-1].key]), shapes["batch_stats"])
    return {"params": jax.tree.map_with_path(one, shapes["params"]), "batch_stats": stats}


@pytest.mark.parametrize(
    ("pool", "widths", "activation"), [("max", (6,), "leaky"), ("mean", (6, 5, 4), "relu"), ("sum", (6, 5), "relu")]
)
def test_edge_convolution_is_that_of_pytorch_geometric(pool, widths, activation, geometric, key):
    torch, pyg = geometric
    ours = {"leaky": lambda x: nn.leaky_relu(x, 0.2), "relu": nn.relu}[activation]
    theirs = {"leaky": lambda: torch.nn.LeakyReLU(0.2), "relu": torch.nn.ReLU}[activation]
    model = EdgeConv(widths, pool=pool, activation=ours, param_dtype=jnp.float64)
    x, weights = normal(1, 3, 10, 3), normal(2, 3, 10, widths[-1])
    found = k_nearest(x, 4, mask=MASK)
    variables = drawn(jax.eval_shape(model.init, key, x, found))

    @jax.jit
    def run(params, x):
        def loss(params, x):
            outputs, updates = model.apply(
                {**variables, "params": params}, x, found, train=True, mutable=["batch_stats"]
            )
            return jnp.sum(outputs * weights), (outputs, updates["batch_stats"])

        return jax.grad(loss, argnums=(0, 1), has_aux=True)(params, x)

    (gradients, x_gradient), (outputs, stats) = run(variables["params"], x)

    twin = edge_conv(torch, pyg, variables["params"], {"sum": "add"}.get(pool, pool), theirs)
    table = torch.tensor(x[MASK], requires_grad=True)
    there = twin(table, torch.tensor(edges_between(x[MASK], 4)))
    (there * torch.tensor(weights[MASK])).sum().backward()
    near(outputs[MASK], there.detach())
    near(x_gradient[MASK], table.grad)
    edges = 4 * sum(SIZES)
    for i in range(1, len(widths) + 1):
        dense, batch_norm = twin.nn[3 * (i - 1)], twin.nn[3 * (i - 1) + 1]
        near(gradients[f"dense{i}"]["kernel"], dense.weight.grad.T)
        near(gradients[f"norm{i}"]["scale"], batch_norm.weight.grad)
        near(gradients[f"norm{i}"]["bias"], batch_norm.bias.grad)
        near(stats[f"norm{i}"]["mean"], batch_norm.running_mean)
        biased = 0.9 + (batch_norm.running_var - 0.9) * (edges - 1) / edges
        near(stats[f"norm{i}"]["var"], biased)


def test_particlenet_is_its_twin_made_of_the_parts_of_pytorch_geometric(geometric, key):
    torch, pyg = geometric
    model = ParticleNet(3, widths=((6, 6, 5), (8, 7)), k=4, dense=6, dropout=0.0, param_dtype=jnp.float64)
    x, weights = normal(1, 3, 10, 5), normal(2, 3, 3)
    points = PointSet(x, MASK)
    variables = drawn(jax.eval_shape(model.init, key, points))

    @jax.jit
    def run(params):
        def loss(params):
            outputs, _ = model.apply({**variables, "params": params}, points, train=True, mutable=["batch_stats"])
            return jnp.sum(outputs * weights), outputs

        return jax.grad(loss, has_aux=True)(params)

    gradients, outputs = run(variables["params"])

    params = variables["params"]
    first = norm(torch, params["input_norm"])
    dense, head = (linear(torch, params[name]["kernel"], params[name]["bias"]) for name in ("dense", "head"))
    places, h, blocks = x[MASK][:, :2], first(torch.tensor(x[MASK])), []
    for i in (1, 2):
        block = params[f"block{i}"]
        edges = edge_conv(torch, pyg, block["edges"], "mean", torch.nn.ReLU)
        shortcut = linear(torch, block["shortcut"]["kernel"])
        blocks.append((edges, shortcut))
        plain = norm(torch, block["shortcut_norm"])(shortcut(h))
        h = torch.relu(plain + edges(h, torch.tensor(edges_between(places, 4))))
        places = h.detach().numpy()
    jets = torch.tensor(np.repeat(np.arange(3), SIZES))
    there = head(torch.relu(dense(pyg.global_mean_pool(h, jets))))
    (there * torch.tensor(weights)).sum().backward()
    near(outputs, there.detach())
    near(gradients["head"]["kernel"], head.weight.grad.T)
    near(gradients["dense"]["kernel"], dense.weight.grad.T)
    near(gradients["input_norm"]["scale"], first.weight.grad)
    for i, (edges, shortcut) in enumerate(blocks, start=1):
        near(gradients[f"block{i}"]["shortcut"]["kernel"], shortcut.weight.grad.T)
        near(gradients[f"block{i}"]["edges"]["dense1"]["kernel"], edges.nn[0].weight.grad.T)
        near(gradients[f"block{i}"]["edges"]["norm1"]["scale"], edges.nn[1].weight.grad)


# Those that `zoo bench models` measures; dropout would differ: (name, options).
DENSE = {
    "deep_sets": ("deep_sets", {"phi": (6, 5), "rho": (7,), "pool": "mean"}),
    "dgcnn": ("dgcnn", {"widths": (4, 5), "k": 3, "embedding": 6, "dense": (7, 5), "dropout": 0.0}),
    "dgcnn, once": (
        "dgcnn",
        {"widths": (4, 5), "k": 3, "embedding": 6, "dense": (), "dynamic": False, "coordinates": 2},
    ),
    "particlenet": ("particlenet", {"widths": ((4, 5), (6,)), "k": 3, "dense": 5, "dropout": 0.0}),
    "particlenet_lite": ("particlenet_lite", {"widths": ((4,),), "k": 3, "dense": 5, "dropout": 0.0}),
}


def test_every_dense_twin_has_a_case():
    assert {name for name, _ in DENSE.values()} == set(POINT_TWINS)


@pytest.mark.parametrize("case", DENSE)
def test_dense_twins_compute_the_same(case, geometric, key):
    torch, _ = geometric
    name, options = DENSE[case]
    model, shape = zoo.create(name, num_classes=3, **options, param_dtype=jnp.float64), (4, 10, 5)
    x, weights = normal(1, *shape), normal(2, 4, 3)
    shapes = jax.eval_shape(functools.partial(model.init, key), x)
    variables = drawn({"batch_stats": {}, **shapes})
    variables = {collection: tree for collection, tree in variables.items() if tree}
    net = point_twin(model, shape).double()
    load_from_flax(net, model, variables, shape)

    @jax.jit
    def run(params):
        def loss(params):
            outputs, updates = model.apply({**variables, "params": params}, x, train=True, mutable=["batch_stats"])
            return jnp.sum(outputs * weights), (outputs, updates)

        return jax.grad(loss, has_aux=True)(params)

    gradients, (outputs, updates) = run(variables["params"])
    there = net(torch.from_numpy(np.moveaxis(x, -1, 1).copy()))
    (there * torch.from_numpy(weights)).sum().backward()
    near(outputs, there.detach())
    pairs = links(net, model, shape)
    expected = to_flax({key: p.grad for key, p in net.named_parameters()}, pairs)["params"]
    whole = np.sqrt(sum(np.sum(leaf**2) for leaf in jax.tree.leaves(expected)))
    assert jax.tree.structure(gradients) == jax.tree.structure(expected)
    for got, leaf in zip(jax.tree.leaves(gradients), jax.tree.leaves(expected), strict=True):
        # Of the norm of all: normalisations take out shifts of their inputs, whose gradients are rounding.
        assert np.linalg.norm(got - leaf) <= TOLERANCE * whole
    means = to_flax({key: b for key, b in net.named_buffers() if key.endswith("running_mean")}, pairs)
    for (path, got), leaf in zip(
        jax.tree.leaves_with_path(means.get("batch_stats", {})),
        [leaf for path, leaf in jax.tree.leaves_with_path(updates) if path[-1].key == "mean"],
        strict=True,
    ):
        assert np.linalg.norm(got - leaf) <= TOLERANCE * np.linalg.norm(leaf) + 1e-14, path


def test_what_has_no_dense_twin_says_so():
    with pytest.raises(UserError, match=r"MLP has no twin; there are twins of: deep_sets, dgcnn, particlenet"):
        point_twin(zoo.create("mlp", num_classes=2), (2, 4))
    for name, options, words in (
        ("deep_sets", {"pool": "attention"}, "DeepSets have pool 'sum' or 'mean' or 'max'; got 'attention'"),
        ("dgcnn", {"readout": "points"}, "readout 'set'; got 'points'"),
        ("particlenet", {"periodic": True}, "periodic False; got True"),
    ):
        with pytest.raises(UserError, match=words):
            point_twin(zoo.create(name, num_classes=2, **options), (2, 20, 3))
