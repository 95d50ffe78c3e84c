"""One device, four devices under `jit` and four under `pmap`: the same numbers for the same global batch."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo.errors import UserError
from zoo.models.on_padded import OnPadded
from zoo.train import (
    classification,
    create_state,
    graphs_of,
    make_evaluation,
    make_step,
    on_rows,
    optimiser,
    parallelise,
    update_fn,
)

MODES = ("jit", "jit on 4", "pmap")
# Two examples a device: the second device holds padding alone, the third one real example.
MASK = (1, 1, 0, 0, 1, 0, 1, 1)


def batch_of(number, dtype, size=8):
    rng = np.random.default_rng([3, number])
    mask = np.resize(MASK, size).astype(dtype)
    image = rng.normal(size=(size, 4, 4, 1)).astype(dtype)
    return {"image": image, "label": rng.integers(0, 3, size).astype(np.int32), "mask": mask}


def jitter(key, image):
    return image + 0.1 * jax.random.normal(key, image.shape, image.dtype)


def build(mode, accumulate, dtype, rate, **options):
    model = zoo.create("convnet", num_classes=3, widths=(4,), depths=(1,), dropout=0.3, param_dtype=jnp.dtype(dtype))
    optimizer = optimiser("sgd", rate, **options)
    task = classification(class_weights=[1.0, 2.0, 0.5], label_smoothing=0.1)
    state = create_state(model, batch_of(0, dtype)["image"][:1], optimizer, jax.random.key(0), ema=True)
    step = make_step(update_fn(model, task, optimizer, augment=jitter, accumulate=accumulate), ema_decay=0.9)
    devices = {"jit": jax.devices()[:1]}.get(mode, jax.devices())
    assert len(jax.devices()) == 4
    return state, parallelise(step, mode="pmap" if mode == "pmap" else "jit", devices=devices)


@functools.cache
def trained(mode, accumulate, dtype, steps, rate, **options):
    """(state at first, state at last, sums of every step), on one device."""
    # JAX donates nothing while it looks for NaNs.
    with jax.enable_x64(dtype == "float64"), jax.debug_nans(False):
        state, step = build(mode, accumulate, dtype, rate, **options)
        placed, course = step.place(state), []
        for n in range(steps):
            # Parts of one example a device would make every statistic of the accumulated mode trivial.
            placed, sums = step(placed, step.split(batch_of(n, dtype, size=8 * accumulate)))
            course.append(jax.device_get(sums))
        return state, step.fetch(placed), course


@pytest.mark.parametrize("mode", MODES[1:])
def test_first_step_in_float32(mode, apart):
    start, one, one_sums = trained("jit", 1, "float32", 1, 1.0, momentum=0.0)
    _, many, many_sums = trained(mode, 1, "float32", 1, 1.0, momentum=0.0)
    gradient = lambda state: jax.tree.map(jnp.subtract, start.params, state.params)
    assert apart(gradient(many), gradient(one)) < 1e-5
    assert apart(many_sums, one_sums) < 1e-5
    assert apart(many.model_state, one.model_state) < 1e-5


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("mode", MODES[1:])
def test_twenty_steps_in_float64(mode, accumulate, apart):
    start, one, one_sums = trained("jit", accumulate, "float64", 20, 0.05, weight_decay=1e-3, clip=1.0)
    _, many, many_sums = trained(mode, accumulate, "float64", 20, 0.05, weight_decay=1e-3, clip=1.0)
    for part in ("params", "model_state", "opt_state", "ema"):
        assert apart(getattr(many, part), getattr(one, part)) < 1e-9, part
    assert apart(many_sums, one_sums) < 1e-9
    assert int(many.step) == int(one.step) == 20
    assert apart(one.params, start.params) > 0.01


@pytest.fixture(scope="module")
def state():
    return build("jit", 1, "float32", 0.1)[0]


def doubling(mode):
    """A step that compiles in no time: parameters doubled, examples counted."""

    def step(state, batch, *, axis_name=None):
        params = jax.tree.map(lambda p: 2 * p, state.params)
        return state.replace(params=params, step=state.step + 1), batch["mask"].sum()

    devices = jax.devices()[: 1 if mode == "jit" else 4]
    return parallelise(step, mode="pmap" if mode == "pmap" else "jit", devices=devices)


@pytest.mark.parametrize("mode", MODES)
def test_the_original_outlives_its_donated_copy(mode, state, bits):
    step, before = doubling(mode), bits(state)
    placed = step.place(state)
    with jax.debug_nans(False):  # JAX donates nothing while it looks for NaNs
        again, _ = step(placed, step.split(batch_of(0, "float32")))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(placed.params))
    assert bits(state) == before
    assert bits(step.fetch(again).params) == bits(jax.tree.map(lambda p: 2 * p, state.params))


@pytest.mark.parametrize("mode", MODES)
def test_place_and_fetch_are_a_round_trip(mode, state, bits):
    step = doubling(mode)
    placed = step.place(state)
    fetched = step.fetch(placed)
    assert bits(fetched) == bits(state)
    assert {leaf.device for leaf in jax.tree.leaves(fetched)} == {jax.devices()[0]}
    expected = 1 if mode == "jit" else 4
    assert all(len(leaf.sharding.device_set) == expected for leaf in jax.tree.leaves(placed))


def test_without_donation_the_placed_state_stays(bits):
    step = parallelise(lambda state, batch, *, axis_name=None: (state + batch.sum(), batch.sum()), donate=False)
    placed = step.place(jnp.ones(3))
    with jax.debug_nans(False):
        step(placed, step.split(np.ones(4, np.float32)))
    np.testing.assert_array_equal(placed, np.ones(3))


@pytest.mark.parametrize("mode", MODES)
def test_evaluation_on_many_devices(mode, apart):
    model = zoo.create("convnet", num_classes=3, widths=(4,), depths=(1,))
    batch = batch_of(0, "float32")
    variables = jax.jit(model.init)(jax.random.key(1), batch["image"])
    function = make_evaluation(model, classification())
    outputs, sums = jax.jit(function)(variables, batch)
    devices = jax.devices()[: 1 if mode == "jit" else 4]
    step = parallelise(function, mode="pmap" if mode == "pmap" else "jit", devices=devices, donate=False)
    many_outputs, many_sums = step(step.place(variables), step.split(batch))
    np.testing.assert_allclose(np.reshape(many_outputs, (8, 3)), outputs, rtol=1e-5, atol=1e-6)
    assert apart(many_sums, sums) < 1e-5


@pytest.mark.parametrize("mode", MODES[1:])
def test_a_batch_that_cannot_be_shared(mode):
    step = doubling(mode)
    with pytest.raises(UserError, match="batch of 6 cannot be shared by 4 devices: take a multiple"):
        step.split(batch_of(0, "float32", size=6))


def test_unknown_mode():
    with pytest.raises(UserError, match=r"'jit' or 'pmap', got 'fsdq'"):
        parallelise(lambda state, batch: (state, batch), mode="fsdq")


def graphs_of_batch(seed):
    """Eight padded graphs with a truth for every node; those whose mask is 0 do not count."""
    rng = np.random.default_rng([5, seed])
    n_node, n_edge = rng.integers(0, 6, 8), rng.integers(0, 8, 8)
    n_edge = np.where(n_node > 0, n_edge, 0)
    ends = [rng.integers(0, np.maximum(n_node, 1)[:, None], (8, 8)).astype(np.int32) for _ in range(2)]
    return {
        "nodes": rng.normal(size=(8, 6, 3)),
        "senders": ends[0],
        "receivers": ends[1],
        "n_node": n_node.astype(np.int32),
        "n_edge": n_edge.astype(np.int32),
        "label": rng.integers(0, 2, (8, 6)).astype(np.int32),
        "valid": (np.arange(6) < n_node[:, None]).astype(np.float64),
        "mask": np.array(MASK, np.float64),
    }


@functools.cache
def trained_on_graphs(mode):
    with jax.enable_x64(True), jax.debug_nans(False):
        network = zoo.create("gin", num_classes=2, width=4, norm="batch", dropout=0.3, readout="nodes")
        model, optimizer = OnPadded(network.clone(param_dtype=jnp.float64)), optimiser("sgd", 0.05)
        task = dataclasses.replace(on_rows(classification()), inputs=graphs_of)
        state = create_state(model, graphs_of(graphs_of_batch(0)), optimizer, jax.random.key(0))
        step = make_step(update_fn(model, task, optimizer))
        devices = jax.devices()[: 1 if mode == "jit" else 4]
        step = parallelise(step, mode="pmap" if mode == "pmap" else "jit", devices=devices)
        placed, course = step.place(state), []
        for n in range(3):
            placed, sums = step(placed, step.split(graphs_of_batch(n)))
            course.append(jax.device_get(sums))
        return step.fetch(placed), course


@pytest.mark.parametrize("mode", MODES[1:])
def test_three_steps_on_padded_graphs(mode, apart):
    """Batch statistics of nodes, dropout of nodes and truth of nodes are those of the whole batch."""
    one, one_sums = trained_on_graphs("jit")
    many, many_sums = trained_on_graphs(mode)
    for part in ("params", "model_state"):
        assert apart(getattr(many, part), getattr(one, part)) < 1e-9, part
    assert apart(many_sums, one_sums) < 1e-9
