"""Laws that every registered model keeps, on its tiny configuration with random weights; and the registry itself."""

import collections
import dataclasses
import functools
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jraph import GraphsTuple

import zoo
from zoo import augment, taps
from zoo.layers import BatchNorm, Conv, fold_pixels
from zoo.models import ConvNet, ResNet
from zoo.registry import example

pytestmark = pytest.mark.smoke

NAMES = zoo.names()
CONVOLUTIONAL = [name for name in NAMES if "padding" in zoo.options(name)]
SWITCHED = {"segnet"}
WITHOUT_STRIDE = {"conv_lstm"}
GRAPHS = [name for name in NAMES if zoo.card(name).kind == "graph"]
POINTS = [name for name in NAMES if zoo.card(name).kind == "points"]
DECLARED = [(name, symmetry) for name in NAMES for symmetry in zoo.card(name).symmetries]


def slow_where_shared(names):
    """`names`, those marked slow whose tiny model is that of an earlier name: its laws are kept there."""
    seen = {}
    for name in names:
        card = zoo.card(name)
        first = seen.setdefault((zoo.create(name, **card.tiny), card.tiny_example), name)
        yield name if first == name else pytest.param(name, marks=pytest.mark.slow)


LAWS = list(slow_where_shared(NAMES))


def normal(seed, shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


TRACES = collections.Counter()


# Compiled functions are shared by the tests: equal models are one.
@functools.cache
def evaluate(model):
    def run(variables, x):
        TRACES[model] += 1
        return model.apply(variables, x)

    return jax.jit(run)


def train_outputs(model, variables, x, mask, key):
    outputs, updates = model.apply(variables, x, train=True, mask=mask, mutable=["batch_stats"], rngs={"dropout": key})
    return outputs, updates.get("batch_stats", {})


@functools.cache
def train(model):
    return jax.jit(functools.partial(train_outputs, model))


@functools.cache
def train_gradients(model):
    """Jitted (variables, x, mask, weights, key) → (gradients, (outputs, batch_stats)) in training mode."""

    def loss(params, variables, x, mask, weights, key):
        outputs, stats = train_outputs(model, {**variables, "params": params}, x, mask, key)
        counts = mask.reshape(-1, *(1,) * (outputs.ndim - 1))
        return jnp.sum(outputs * weights * counts), (outputs, stats)

    gradients = jax.grad(loss, has_aux=True)
    return jax.jit(lambda variables, *args: gradients(variables["params"], variables, *args))


@pytest.fixture
def net(key, randomise):
    """`net(name, dtype, batch, **options)` → model, random variables and input of its tiny configuration."""

    def build(name, dtype=jnp.float32, *, batch=None, size=None, param_dtype=None, **options):
        card = zoo.card(name)
        if options.get("dropout") == 0 and "dropout" not in zoo.options(name):
            del options["dropout"]
        model = zoo.create(name, **{**card.tiny, "param_dtype": param_dtype or dtype, **options})
        shape = list(card.tiny_example)
        shape[0] = batch or shape[0]
        if size:
            shape[1:-1] = [size] * (len(shape) - 2)
        x = drawn(name, tuple(shape), dtype)
        return model, randomise(2, jax.eval_shape(model.init, key, abstract(x))), x

    return build


def abstract(x):
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), x)


def inputs_like(name, shape=None):
    """Shapes and dtypes of an input in float32; the tiny one if no numbers are given."""
    return jax.eval_shape(lambda key: example(name, key, shape=shape), jax.random.key(0))


def drawn(name, shape, dtype):
    """`example` with numbers drawn by NumPy: jax.random would compile one program for every shape."""
    made = jax.eval_shape(lambda key: example(name, key, shape=shape, dtype=dtype), jax.random.key(0))
    if not isinstance(made, GraphsTuple):
        values = normal(1, shape).astype(dtype)
        return values if zoo.card(name).kind == "array" else made.replace(values=values, mask=points_mask(shape))
    graphs, size, edges = shape[:3]
    ends = np.random.default_rng(1).integers(0, size, (2, graphs, edges))
    senders, receivers = (ends + size * np.arange(graphs)[None, :, None]).reshape(2, -1).astype(made.senders.dtype)
    return made._replace(
        nodes=normal(1, made.nodes.shape).astype(dtype),
        edges=None if made.edges is None else normal(2, made.edges.shape).astype(dtype),
        senders=jnp.asarray(senders),
        receivers=jnp.asarray(receivers),
        n_node=jnp.full(graphs, size, made.n_node.dtype),
        n_edge=jnp.full(graphs, edges, made.n_edge.dtype),
    )


def points_mask(shape):
    """The last point of each set is padding."""
    return jnp.broadcast_to(jnp.arange(shape[1])[None] < shape[1] - 1, shape[:2])


def apart(x):
    """Every array with the examples in front; graphs must be of equal size."""
    if not isinstance(x, GraphsTuple):
        return x
    graphs = len(x.n_node)
    first = (x.nodes.shape[0] // graphs) * jnp.arange(graphs)[:, None]
    parts = jax.tree.map(lambda leaf: leaf.reshape(graphs, -1, *leaf.shape[1:]), x)
    return parts._replace(
        senders=parts.senders - first, receivers=parts.receivers - first, n_node=x.n_node, n_edge=x.n_edge
    )


def together(parts):
    """The inverse of `apart`."""
    if not isinstance(parts, GraphsTuple):
        return parts
    graphs, size = parts.nodes.shape[:2]
    first = size * jnp.arange(graphs)[:, None]
    parts = parts._replace(senders=parts.senders + first, receivers=parts.receivers + first)
    joined = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), parts._replace(n_node=None, n_edge=None))
    return joined._replace(n_node=parts.n_node, n_edge=parts.n_edge)


def some(x, index):
    """The examples at `index`, a slice or an array of numbers."""
    return together(jax.tree.map(lambda leaf: leaf[index], apart(x)))


def on_numbers(function, x):
    """`function` on the arrays of floating numbers, and nothing on indices and masks."""
    return jax.tree.map(lambda leaf: function(leaf) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, x)


def louder(x, first, factor):
    """The numbers of the examples from `first` on times `factor`."""
    return together(on_numbers(lambda leaf: leaf.at[first:].multiply(factor), apart(x)))


def count_of(x):
    return len(x.n_node) if isinstance(x, GraphsTuple) else len(jax.tree.leaves(x)[0])


def output_shape(name, x):
    """Of the tiny network for inputs like `x`."""
    classes = zoo.options(name)["num_classes"] if "num_classes" not in zoo.card(name).tiny else 3
    spatial = x.shape[1:-1] if zoo.card(name).outputs == "pixels" else ()
    return (count_of(x), *spatial, classes)


@pytest.mark.parametrize("name", LAWS)
def test_output_has_its_shape_and_is_finite_and_repeatable(name, net):
    model, variables, x = net(name)
    outputs = evaluate(model)(variables, x)
    assert outputs.shape == output_shape(name, x)
    assert outputs.dtype == jnp.float32
    assert np.all(np.isfinite(outputs))
    # Of many pixels a few may come out alike.
    spread = np.median(np.ptp(outputs, axis=0).reshape(-1, outputs.shape[-1]), axis=0)
    assert spread.min() > 1e-4, "the input does not matter"
    assert np.array_equal(outputs, evaluate(model)(variables, x))


@pytest.mark.parametrize("name", LAWS)
def test_jit_vmap_and_one_by_one_give_the_batch(name, net, x64, close):
    model, variables, x = net(name, jnp.float64)
    batch = evaluate(model)(variables, x)
    # Rounding of float64 in a different order of sums: 1e-16 times the depth.
    close(model.apply(variables, x), batch, 1e-12)

    def one(parts):
        return evaluate(model)(variables, together(jax.tree.map(lambda leaf: leaf[None], parts)))[0]

    close(jax.vmap(one)(apart(x)), batch, 1e-12)
    singles = [evaluate(model)(variables, some(x, slice(i, i + 1))) for i in range(count_of(x))]
    close(jnp.concatenate(singles), batch, 1e-12)


def idle_parameters(gradients):
    """Parameters whose gradient is nothing but rounding beside the largest one; those between the two are an error."""
    norms = {
        "/".join(entry.key for entry in path): float(jnp.linalg.norm(leaf.ravel()))
        for path, leaf in jax.tree.leaves_with_path(gradients)
    }
    largest = max(norms.values())
    unclear = {path: norm for path, norm in norms.items() if 1e-12 * largest < norm < 1e-9 * largest}
    assert not unclear, f"neither a gradient nor rounding beside {largest}: {unclear}"
    return {path for path, norm in norms.items() if norm <= 1e-12 * largest}


@pytest.mark.parametrize("name", LAWS)
def test_every_parameter_gets_a_gradient_but_the_idle_ones(name, net, x64, key):
    model, variables, x = net(name, jnp.float64, batch=4, dropout=0.0)
    weights = normal(3, output_shape(name, x))
    gradients, _ = train_gradients(model)(variables, x, jnp.ones(4), weights, key)
    paths = {"/".join(entry.key for entry in path) for path, _ in jax.tree.leaves_with_path(gradients)}
    declared = {path for path in paths for pattern in zoo.card(name).idle if re.fullmatch(pattern, path)}
    assert idle_parameters(gradients) == declared


def test_a_bias_before_normalisation_would_be_found_idle(x64, key):
    class Biased(nn.Module):
        @nn.compact
        def __call__(self, x):
            return BatchNorm(param_dtype=x.dtype)(Conv(3, use_bias=True, param_dtype=x.dtype)(x), train=True)

    x = normal(1, (2, 5, 5, 1))
    variables = jax.jit(Biased().init)(key, x)

    @jax.jit
    @jax.grad
    def gradients(params):
        outputs, _ = Biased().apply({**variables, "params": params}, x, mutable=["batch_stats"])
        return jnp.sum(outputs * x)

    assert idle_parameters(gradients(variables["params"])) == {"Conv_0/bias"}


@pytest.mark.parametrize("name", LAWS)
def test_masked_examples_count_for_nothing(name, net, x64, key, close):
    model, variables, x = net(name, jnp.float64, batch=4, dropout=0.0)
    weights, mask = normal(3, output_shape(name, x)), jnp.array([1.0, 1.0, 0.0, 0.0])
    gradients, (outputs, stats) = train_gradients(model)(variables, x, mask, weights, key)
    # What stands in the padding does not matter …
    loud = louder(x, 2, 50.0)
    loud_gradients, (loud_outputs, loud_stats) = train_gradients(model)(variables, loud, mask, weights, key)
    close((gradients, loud_stats, loud_outputs[:2]), (loud_gradients, stats, outputs[:2]), 1e-12)
    # … nor does that there is any,
    expected = train(model)(variables, some(x, slice(2)), mask[:2], key)
    close((outputs[:2], stats), expected, 1e-12)
    # although without the mask it would, if anything is shared by the examples.
    _, (unmasked, _) = train_gradients(model)(variables, loud, jnp.ones(4), weights, key)
    assert np.allclose(unmasked[:2], expected[0], rtol=1e-3) == ("batch_stats" not in variables)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("name", LAWS)
def test_dtype_of_the_input_is_kept_step_after_step(name, dtype, net, x64, key):
    model, variables, x = net(name, dtype)

    def two_steps(variables, x):
        every = []
        for _ in range(2):
            outputs, updates = model.apply(variables, x, train=True, mutable=["batch_stats"], rngs={"dropout": key})
            variables = {**variables, **updates}
            every.append((outputs, variables))
        return every, model.apply(variables, x)

    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(dtype)}
    shapes = jax.eval_shape(two_steps, variables, x)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype(dtype)}


@pytest.mark.parametrize("name", LAWS)
def test_bfloat16_stays_close_to_float32(name, net):
    model, variables, x = net(name)
    half = evaluate(model.clone(dtype=jnp.bfloat16))(variables, x)
    assert half.dtype == jnp.bfloat16
    outputs = np.asarray(evaluate(model)(variables, x))
    errors = np.abs(half.astype(jnp.float32) - outputs) / np.max(np.abs(outputs))
    # A switch is a choice: between pixels that are equal to three digits it falls the other way, and values move.
    assert np.quantile(errors, 0.9 if name in SWITCHED else 1) <= 3e-2


@pytest.mark.parametrize("name", LAWS)
def test_other_weights_do_not_recompile(name, net):
    model, variables, x = net(name)
    first = evaluate(model)(variables, x)
    traces = TRACES[model]
    second = evaluate(model)(jax.tree.map(lambda leaf: 1.1 * leaf, variables), on_numbers(lambda leaf: leaf + 1, x))
    assert TRACES[model] == traces > 0
    assert not np.array_equal(first, second)


def shifts(ndim, step):
    """Every combination of shifts by `step` along `ndim` axes, none first."""
    return list(itertools.product((0, step), repeat=ndim))


def departure(outputs):
    """Largest change under the group beside the largest output."""
    return float(np.max(np.abs(outputs - outputs[:1])) / np.max(np.abs(outputs)))


def shift_departure(model, variables, x, step, action="invariant"):
    """`departure` of the outputs for all shifts of `x` (1, …, C), shifted back if they are declared to move along."""
    axes = range(x.ndim - 2)
    every = shifts(len(axes), step)
    outputs = evaluate(model)(variables, jnp.stack([jnp.roll(x[0], shift, axes) for shift in every]))
    if action == "invariant":
        return departure(outputs)
    assert departure(outputs) > 1e-4, "this is invariance: say so"
    back = [jnp.roll(output, [-n for n in shift], axes) for output, shift in zip(outputs, every, strict=True)]
    return departure(jnp.stack(back))


def declared(groups):
    """(name, symmetry) pairs of the models that declare one of these groups."""
    pairs = [(name, symmetry) for name, symmetry in DECLARED if symmetry.group in groups]
    return pytest.mark.parametrize(
        ("name", "symmetry"), pairs, ids=[f"{name}-{symmetry.group}-{symmetry.action}" for name, symmetry in pairs]
    )


def fitting_size(name, symmetry):
    """A multiple of the step, twice it at least, that the tiny network takes."""
    tiny = max(zoo.card(name).tiny_example[1:-1])
    return symmetry.step * max(2, -(-tiny // symmetry.step))


@declared(["translation"])
def test_declared_translations_are_exact_with_their_options_and_broken_by_zero_padding(name, symmetry, net, x64):
    size = fitting_size(name, symmetry)
    for dtype, tolerance in [(jnp.float32, 1e-6), (jnp.float64, 1e-12)]:
        model, variables, x = net(name, dtype, batch=1, size=size, **symmetry.config)
        assert shift_departure(model, variables, x, symmetry.step, symmetry.action) <= tolerance
    assert shift_departure(model.clone(padding="zero"), variables, x, symmetry.step, symmetry.action) > 1e-4


# Narrow networks with all strides of the full-size ones, stated here and not read from the card.
_GROUP_NARROW = {"widths": (2,) * 4, "depths": (1,) * 4, "num_classes": 2}
_GROUP_UNET_NARROW = {"widths": (2,) * 4, "depth": 1, "num_classes": 2}
NARROW = {
    "convnet": {"widths": (6,) * 4, "depths": (1,) * 4, "num_classes": 2},
    "conv1d": {"widths": (6,) * 3, "depths": (1,) * 3, "num_classes": 2},
    "conv3d": {"widths": (6,) * 3, "depths": (1,) * 3, "num_classes": 2},
    "c4_convnet": _GROUP_NARROW,
    "d4_convnet": _GROUP_NARROW,
    "d4_resnet": _GROUP_NARROW,
    "c4_unet": _GROUP_UNET_NARROW,
    "d4_unet": _GROUP_UNET_NARROW,
    "fcn": {"widths": (4,) * 5, "depths": (1,) * 5, "dense": (4,), "num_classes": 2},
    "mobilenet_v2": {
        "stem_width": 8,
        "stem_stride": 2,
        "stages": tuple((2, 8, 1, stride) for stride in (1, 2, 2, 2, 1, 2, 1)),
        "last_width": 8,
        "num_classes": 2,
    },
    "resnet18": {"width": 3, "depths": (1,) * 4, "num_classes": 2, "stem": "imagenet"},
    "segnet": {"widths": (4,) * 4, "depths": (1,) * 4, "num_classes": 2},
    "unet": {"widths": (6,) * 4, "depth": 1, "num_classes": 2},
    "unet3d": {"widths": (3,) * 3, "depth": 1, "num_classes": 2},
    "vgg11": {"widths": (4,) * 5, "depths": (1,) * 5, "dense": (4,), "num_classes": 2},
}


def test_every_module_with_a_stride_has_its_narrow_network():
    strided = {zoo.card(name).module for name, symmetry in DECLARED if symmetry.step > 1}
    assert {zoo.card(name).module for name in NARROW} == strided


@pytest.mark.parametrize("name", NARROW)
def test_declared_step_is_the_total_stride_and_no_less(name, net, x64):
    (symmetry,) = (symmetry for symmetry in zoo.card(name).symmetries if symmetry.group == "translation")
    options = {**NARROW[name], **symmetry.config}
    model, variables, x = net(name, jnp.float64, batch=1, size=2 * symmetry.step, **options)
    assert shift_departure(model, variables, x, symmetry.step, symmetry.action) <= 1e-12
    assert shift_departure(model, variables, x, symmetry.step // 2, symmetry.action) > 1e-4


ELEMENTS = {"C4": range(4), "D4": range(8)}


def pose_departure(model, variables, x, action, elements):
    """`departure` of the outputs for poses of `x` (1, N, N, C), turned back if they are declared to move along.

    `zoo.augment.d4` says which element does what; the first of `elements` is 0.
    """
    outputs = evaluate(model)(variables, jnp.stack([augment.d4(x[0], g) for g in elements]))
    if action == "invariant":
        return departure(outputs)
    assert departure(outputs) > 1e-4, "this is invariance: say so"
    inverse = [0, 3, 2, 1, 4, 5, 6, 7]
    back = [augment.d4(output, inverse[g]) for output, g in zip(outputs, elements, strict=True)]
    return departure(jnp.stack(back))


@declared(["C4", "D4"])
def test_declared_turns_and_mirrorings_are_exact(name, symmetry, net, x64):
    # Sums over up to 8 elements have 8 times the terms of a plain network's, hence √8 times its rounding, 1e-6.
    for dtype, tolerance in [(jnp.float32, 3e-6), (jnp.float64, 1e-12)]:
        model, variables, x = net(name, dtype, batch=1, size=fitting_size(name, symmetry), **symmetry.config)
        assert pose_departure(model, variables, x, symmetry.action, ELEMENTS[symmetry.group]) <= tolerance


@declared(["C4", "D4"])
def test_turns_are_exact_in_declared_sizes_and_no_others(name, symmetry, net, x64):
    step, options = symmetry.step, {**NARROW[name], **symmetry.config}
    model, variables, x = net(name, jnp.float64, batch=1, size=3 * step, **options)
    assert pose_departure(model, variables, x, symmetry.action, ELEMENTS[symmetry.group]) <= 1e-12
    # Half a step more: one row and column has no partner.
    model, variables, x = net(name, jnp.float64, batch=1, size=3 * step + step // 2, strict=False, **options)
    assert pose_departure(model, variables, x, symmetry.action, ELEMENTS[symmetry.group]) > 1e-4


@declared(["C4", "D4"])
def test_sizes_on_which_turns_are_not_exact_are_refused(name, symmetry):
    step, options = symmetry.step, {**NARROW[name], **symmetry.config}
    for sizes in {(3 * step + step // 2,) * 2, (3 * step + 1,) * 2, (3 * step, 4 * step)}:
        message = refusal(ValueError, initialise, name, (1, *sizes, 2), **options)
        assert f"{name} is exact on square images whose side is a multiple of {step}; got {sizes}" in message
        assert f"nearest are {3 * step} and {4 * step}" in message
        assert "strict=False" in message


@pytest.mark.parametrize("name", ["convnet", "resnet18", "unet", "segnet", "fcn"])
def test_plain_networks_do_not_turn(name, net, x64):
    model, variables, x = net(name, jnp.float64, batch=1, size=16)
    for elements in ([0, 1, 2, 3], [0, 4]):
        assert pose_departure(model, variables, x, zoo.card(name).symmetries[0].action, elements) > 1e-2


@pytest.mark.parametrize("name", ["c4_convnet", "c4_unet"])
def test_the_c4_networks_do_not_mirror(name, net, x64):
    model, variables, x = net(name, jnp.float64, batch=1)
    assert pose_departure(model, variables, x, zoo.card(name).symmetries[0].action, [0, 4]) > 1e-2


def permuted(x, seed):
    """Graphs with their nodes, edges and themselves in another order, or sets with their points and themselves.

    And for each part which rows of `x` its rows are.
    """
    draw = np.random.default_rng(seed)
    order = draw.permutation(count_of(x))
    if not isinstance(x, GraphsTuple):
        places = draw.permutation(x.values.shape[1])
        return jax.tree.map(lambda leaf: leaf[order][:, places], x), {"sets": order, "points": np.ix_(order, places)}
    sizes = (x.nodes.shape[0] // len(order), x.senders.shape[0] // len(order))
    nodes, edges = (np.concatenate([size * g + draw.permutation(size) for g in order]) for size in sizes)
    place = jnp.asarray(np.argsort(nodes))
    moved = x._replace(
        nodes=x.nodes[nodes],
        edges=None if x.edges is None else x.edges[edges],
        senders=place[x.senders[edges]],
        receivers=place[x.receivers[edges]],
    )
    return moved, {"graph": order, "nodes": nodes, "edges": edges}


@declared(["permutation"])
def test_declared_permutations_are_exact(name, symmetry, net, x64, close):
    # Sums of a dozen terms in another order, a few layers deep: rounding is 6e-8 and 1e-16 of each.
    for dtype, tolerance in [(jnp.float32, 3e-6), (jnp.float64, 1e-12)]:
        model, variables, x = net(name, dtype, batch=3, **symmetry.config)
        outputs = evaluate(model)(variables, x)
        moved, rows = permuted(x, 0)
        readout = getattr(model, "readout", "sets")
        assert (readout in ("graph", "set", "sets")) == (symmetry.action == "invariant")
        assert departure(outputs) > 1e-4, "the input does not matter"
        close(evaluate(model)(variables, moved), outputs[rows.get(readout, rows.get("sets"))], tolerance)


def padded_graph(x):
    """Two graphs with two of NaN between them and one of nothing behind; and which of the five count."""
    first, last = (some(x, slice(i, i + 1)) for i in range(2))
    noise = on_numbers(lambda leaf: np.full_like(leaf, np.nan), first)
    size, moved = first.nodes.shape[0], []
    for i, part in enumerate([first, noise, noise, last]):
        moved.append(part._replace(senders=part.senders + i * size, receivers=part.receivers + i * size))
    graph = jax.tree.map(lambda *leaves: np.concatenate(leaves), *moved)
    graph = graph._replace(n_node=np.append(graph.n_node, 0), n_edge=np.append(graph.n_edge, 0))
    return graph, np.array([True, False, False, True, False])


@pytest.mark.parametrize("readout", ["graph", "nodes", "edges"])
@pytest.mark.parametrize("name", GRAPHS)
def test_more_padding_gives_the_same_answer(name, readout, net, x64, close):
    model, variables, x = net(name, jnp.float64, readout=readout)
    expected = evaluate(model)(variables, x)
    graph, mask = padded_graph(x)
    with jax.debug_nans(False):
        outputs = jax.jit(model.apply)(variables, graph, mask=mask)
    assert np.all(np.isfinite(outputs))
    rows = {"graph": np.ones(5, int), "nodes": graph.n_node, "edges": graph.n_edge}
    close(outputs[mask.repeat(rows[readout])], expected, 1e-12)


@pytest.mark.parametrize("name", list(slow_where_shared(POINTS)))
def test_more_padding_of_points_gives_the_same_answer(name, net, x64, close):
    readouts = ["set", "points"] if "readout" in zoo.options(name) else [None]
    for readout in readouts:
        model, variables, x = net(name, jnp.float64, **({"readout": readout} if readout else {}))
        expected = evaluate(model)(variables, x)
        # Points of NaN between those there are, and before and behind them.
        places = np.arange(x.values.shape[1]) * 2 + 1
        size = 2 * len(places) + 2
        values = np.full((len(x.values), size, x.values.shape[2]), np.nan)
        mask = np.zeros((len(x.values), size), bool)
        values[:, places], mask[:, places] = x.values, x.mask
        with jax.debug_nans(False):
            outputs = evaluate(model)(variables, x.replace(values=jnp.asarray(values), mask=jnp.asarray(mask)))
        assert np.all(np.isfinite(outputs))
        close(outputs[:, places] if readout == "points" else outputs, expected, 1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_card_is_complete(name):
    card = zoo.card(name)
    fields = {field.name for field in dataclasses.fields(card.module)}
    assert issubclass(card.module, nn.Module)
    assert re.fullmatch(r"https://\S+", card.paper)
    assert card.title.strip()
    assert {"array": "(B, ", "graph": "GraphsTuple", "points": "PointSet"}[card.kind] in card.inputs
    assert set(card.config) <= fields
    assert set(card.tiny) <= fields
    assert card.example[0] == 1
    assert len(card.example) == len(card.tiny_example)
    for symmetry in card.symmetries:
        assert set(symmetry.config) <= fields
        assert f"{symmetry.action} to {symmetry.group}" in str(symmetry)
        assert ("px" in str(symmetry)) == (symmetry.group != "permutation")
        assert symmetry.group == "permutation" or f"{symmetry.step} px" in str(symmetry)
    for pattern in card.idle:
        re.compile(pattern)
    assert {"num_classes", "in_channels", "axis_name", "dtype", "param_dtype"} <= fields
    tiny = zoo.create(name, **card.tiny)
    shapes = jax.eval_shape(tiny.init, jax.random.key(0), inputs_like(name))
    convolutional = any(leaf.ndim > 2 for leaf in jax.tree.leaves(shapes["params"]))
    assert ("padding" in fields) == convolutional, "every convolution states its padding"


@pytest.mark.parametrize("name", NAMES)
def test_tiny_is_tiny_and_the_full_size_example_fits(name):
    card = zoo.card(name)
    assert zoo.parameters(name, card.tiny_example, **card.tiny) <= min(10_000, zoo.parameters(name))


@pytest.mark.parametrize(
    ("name", "count"),
    [("resnet18", 11_689_512), ("resnet34", 21_797_672), ("resnet50", 25_557_032), ("deepmerge", 174_593)],
)
def test_full_size_parameters_are_the_published_ones(name, count):
    assert zoo.parameters(name) == count


def test_parameters_follow_the_options():
    assert zoo.parameters("resnet18", num_classes=10) == 11_689_512 - 990 * 513
    assert zoo.parameters("resnet18", (1, 64, 64, 1)) == 11_689_512 - 2 * 49 * 64
    assert zoo.parameters("convnet", num_classes=4) == zoo.parameters("convnet") - 6 * 257


@pytest.mark.parametrize("name", NAMES)
def test_any_number_of_channels(name, key):
    card = zoo.card(name)
    for channels in (1, 3, 32):
        model = zoo.create(name, **{**card.tiny, "in_channels": channels})
        x = inputs_like(name, (*card.tiny_example[:-1], channels))
        outputs, _ = jax.eval_shape(model.init_with_output, key, x)
        assert outputs.shape == output_shape(name, x)


def test_names_are_sorted_and_filtered():
    assert list(NAMES) == sorted(set(NAMES))
    assert zoo.names("resnet*") == ("resnet18", "resnet34", "resnet50")
    assert zoo.names("nothing*") == ()


def test_options_are_the_fields_with_the_defaults_of_the_variant():
    options = zoo.options("resnet50")
    assert options["bottleneck"] is True
    assert options["depths"] == (3, 4, 6, 3)
    assert options["stem"] == "imagenet"
    assert not {"parent", "name"} & set(options)
    assert zoo.options("convnet")["num_classes"] is None
    assert zoo.create("resnet50", width=8) == ResNet(depths=(3, 4, 6, 3), bottleneck=True, width=8)


def refusal(error, function, *args, **kwargs):
    with pytest.raises(error) as caught:
        function(*args, **kwargs)
    return str(caught.value)


@pytest.mark.parametrize("function", [zoo.card, zoo.create, zoo.options, zoo.parameters])
def test_an_unknown_model_gets_the_closest_names(function):
    message = refusal(zoo.UnknownName, function, "resnet-18")
    assert "no model called 'resnet-18'" in message
    assert "'resnet18'" in message
    assert f"There are: {', '.join(NAMES[:3])}" in refusal(KeyError, function, "?")


def test_an_unknown_option_gets_the_closest_names():
    message = refusal(zoo.UnknownName, zoo.create, "resnet18", num_clases=3)
    assert "no option of resnet18 called 'num_clases'" in message
    assert "'num_classes'" in message


def test_a_missing_option_is_named():
    message = refusal(zoo.UserError, zoo.create, "convnet")
    assert "convnet needs num_classes" in message
    assert "zoo.create('convnet', num_classes=…)" in message


def initialise(name, shape, **options):
    model = zoo.create(name, **{**zoo.card(name).tiny, **options})
    return jax.eval_shape(model.init, jax.random.key(0), inputs_like(name, shape))


@pytest.mark.parametrize("name", NAMES)
def test_another_number_of_channels_is_refused(name):
    shape = zoo.card(name).tiny_example
    message = refusal(ValueError, initialise, name, shape, in_channels=5)
    assert "in_channels=5" in message
    assert f"{shape[-1]} channels" in message


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_inputs_that_cannot_be_meant_are_refused(name):
    message = refusal(ValueError, initialise, name, (1, *(8,) * 5, 1))
    assert "(B, " in message
    assert "got shape (1, 8, 8, 8, 8, 8, 1)" in message
    assert "got shape (2, 8)" in refusal(ValueError, initialise, name, (2, 8))


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_a_single_pixel_is_refused_or_padded(name):
    """Networks with outputs per pixel pad what they are given, but for those that must turn with it.

    A network without a stride takes it as it is.
    """
    shape = (1, *(1,) * (len(zoo.card(name).tiny_example) - 2), 2)
    padded = zoo.card(name).outputs == "pixels" and "strict" not in zoo.options(name)
    if padded or name in WITHOUT_STRIDE:
        initialise(name, shape)
        return
    message = refusal(ValueError, initialise, name, shape)
    assert "at least" in message or "nearest" in message
    assert f"got {shape[1:-1]}" in message


@pytest.mark.parametrize("name", [name for name in NAMES if zoo.card(name).outputs == "pixels"])
def test_any_size_comes_out_as_it_went_in(name, net):
    ndim = len(zoo.card(name).tiny_example) - 2
    model, variables, _ = net(name)
    model = model.clone(strict=False) if hasattr(model, "strict") else model
    sizes = [(1,) * ndim, tuple(range(5, 5 + ndim)), (16,) + (2,) * (ndim - 1)]
    for padding, size in itertools.product(("zero", "circular"), sizes):
        x = jax.ShapeDtypeStruct((1, *size, 2), jnp.float32)
        outputs = jax.eval_shape(model.clone(padding=padding).apply, variables, x)
        assert outputs.shape == (1, *size, 3)


@pytest.mark.parametrize(
    ("name", "option", "expected"),
    [
        ("resnet18", {"stem": "tiny"}, "stem must be 'imagenet' or 'small', got 'tiny'"),
        ("convnet", {"pool": "median"}, "pool must be one of ['avg', 'max'], got 'median'"),
        ("convnet", {"head_pool": "median"}, "head_pool must be 'mean', 'max' or 'both', got 'median'"),
        ("deepmerge", {"hidden": "tanh"}, "hidden must be one of ['relu', 'softmax'], got 'tanh'"),
        ("convnet", {"widths": (2, 3, 4)}, "widths (2, 3, 4) and depths (1, 2) must name the same number"),
        ("convnet", {"fold": 3}, "fold=3 needs sizes that are multiples of 3, got (16, 16)"),
        *[(name, {"padding": "same"}, "padding must be 'zero' or 'circular', got 'same'") for name in CONVOLUTIONAL],
    ],
)
def test_options_that_cannot_be_meant_are_refused(name, option, expected):
    assert expected in refusal(ValueError, initialise, name, zoo.card(name).tiny_example, **option)


@pytest.mark.parametrize(("stem", "stem_size", "stage_sizes"), [("imagenet", 32, (16, 8)), ("small", 64, (64, 32))])
def test_resnet_stem_sets_the_sizes(stem, stem_size, stage_sizes, key):
    model = ResNet(num_classes=2, depths=(1, 1), width=4, stem=stem)
    x = jax.ShapeDtypeStruct((1, 64, 64, 1), jnp.float32)
    variables = jax.eval_shape(model.init, key, x)
    layers = ["stem", "stage1_block0", "stage2_block0"]
    _, read = jax.eval_shape(lambda variables, x: taps.read(model, variables, x, layers), variables, x)
    assert [read[layer].shape for layer in layers] == [
        (1, stem_size, stem_size, 4),
        (1, stage_sizes[0], stage_sizes[0], 4),
        (1, stage_sizes[1], stage_sizes[1], 8),
    ]
    assert variables["params"]["stem"]["kernel"].shape[0] == {"imagenet": 7, "small": 3}[stem]


def read_layers(model, variables, x, layers):
    """Outputs and activations as NumPy arrays."""
    return jax.tree.map(np.asarray, jax.jit(lambda variables, x: taps.read(model, variables, x, layers))(variables, x))


def test_resnet_blocks_start_as_the_identity(key):
    model = ResNet(num_classes=2, depths=(2,), width=4, stem="small")
    x = jnp.asarray(normal(1, (2, 8, 8, 1)), jnp.float32)
    variables = jax.jit(model.init)(key, x)
    _, read = read_layers(model, variables, x, ["stem_norm", "stage1_block0", "stage1_block1"])
    assert np.array_equal(read["stage1_block1"], np.maximum(read["stem_norm"], 0))


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_convnet_folds_pixels_before_its_first_convolution(ndim, key, randomise, x64, close):
    options = {"num_classes": 2, "widths": (3, 4), "depths": (1, 1), "param_dtype": jnp.float64}
    x = normal(1, (2, *(8,) * ndim, 2))
    folded = ConvNet(fold=2, **options)
    variables = randomise(2, jax.eval_shape(folded.init, key, x))
    assert variables["params"]["stage1_conv1"]["kernel"].shape == (*(3,) * ndim, 2 * 2**ndim, 3)
    expected = ConvNet(**options).apply(variables, fold_pixels(x, 2))
    close(folded.apply(variables, x), expected, 1e-12)


@pytest.mark.parametrize(("head_pool", "features"), [("mean", 6), ("max", 6), ("both", 12)])
def test_convnet_head_sees_mean_and_maximum(head_pool, features, net):
    model, variables, x = net("convnet", head_pool=head_pool)
    assert variables["params"]["head"]["kernel"].shape == (features, 3)
    outputs, read = read_layers(model, variables, x, ["stage2_norm2"])
    last = np.maximum(read["stage2_norm2"], 0)
    parts = {"mean": [last.mean((1, 2))], "max": [last.max((1, 2))]}
    parts["both"] = parts["mean"] + parts["max"]
    head = variables["params"]["head"]
    expected = np.concatenate(parts[head_pool], axis=-1) @ np.asarray(head["kernel"]) + np.asarray(head["bias"])
    assert np.allclose(outputs, expected, atol=1e-5)


def test_convnet_pools_by_averages_on_request(net):
    model, variables, x = net("convnet", pool="avg")
    _, read = read_layers(model, variables, x, ["stage1_norm1", "stage2_conv1"])
    x = np.maximum(read["stage1_norm1"], 0).reshape(2, 8, 2, 8, 2, 4).mean((2, 4))
    kernel = np.asarray(variables["params"]["stage2_conv1"]["kernel"])
    assert np.allclose(read["stage2_conv1"][0, 1, 1], np.einsum("hwi,hwio->o", x[0, :3, :3], kernel), atol=1e-5)


def softmax(x):
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


@pytest.mark.parametrize(("hidden", "activate"), [("softmax", softmax), ("relu", lambda x: np.maximum(x, 0))])
def test_deepmerge_hidden_activation(hidden, activate, net):
    model, variables, x = net("deepmerge", hidden=hidden)
    outputs, read = read_layers(model, variables, x, ["dense1", "dense2"])
    params = jax.tree.map(np.asarray, variables["params"])
    second = activate(read["dense1"]) @ params["dense2"]["kernel"] + params["dense2"]["bias"]
    assert np.allclose(read["dense2"], second, atol=1e-5)
    assert np.allclose(outputs, activate(second) @ params["head"]["kernel"] + params["head"]["bias"], atol=1e-5)


def test_deepmerge_normalises_after_the_rectifier_as_keras_does(net, key, x64):
    model, variables, x = net("deepmerge", jnp.float64, batch=2, dropout=0.0)
    _, read = read_layers(model, variables, x, ["block1_conv", "block1_norm"])
    norm = jax.tree.map(np.asarray, variables["params"]["block1_norm"])
    stats = jax.tree.map(np.asarray, variables["batch_stats"]["block1_norm"])
    rectified = np.maximum(read["block1_conv"], 0)
    expected = (rectified - stats["mean"]) / np.sqrt(stats["var"] + 1e-3) * norm["scale"] + norm["bias"]
    assert np.allclose(read["block1_norm"], expected, rtol=1e-12)
    _, moved = train(model)(variables, x, jnp.ones(2), key)
    expected = 0.99 * stats["mean"] + 0.01 * rectified.mean((0, 1, 2))
    assert np.allclose(moved["block1_norm"]["mean"], expected, rtol=1e-12)


@pytest.mark.parametrize("name", {zoo.card(n).module: n for n in NAMES if "dropout" in zoo.options(n)}.values())
def test_dropout_follows_its_key(name, net, x64, key):
    model, variables, x = net(name, jnp.float64, batch=2, dropout=0.5)
    first, _ = train(model)(variables, x, jnp.ones(2), key)
    assert np.array_equal(first, train(model)(variables, x, jnp.ones(2), key)[0])
    assert not np.allclose(first, train(model)(variables, x, jnp.ones(2), jax.random.fold_in(key, 7))[0], atol=1e-4)
