"""Tasks on sequences against literal loops over their steps; a batch that is cut to its longest is the batch."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo import train

B, T, K = 5, 6, 3
LENGTHS = np.array([6, 1, 4, 3, 2], np.int32)
VALID = np.random.default_rng(1).random((B, T)) > 0.3
MASK = np.array([1.0, 1, 1, 1, 0])
CLASS_WEIGHTS = (1.0, 2.0, 0.5)


def batch_of(kind, *, valid=True, mask=True, beyond=np.inf):
    """(outputs (B, T, K), batch) in float64; what stands beyond the lengths is no truth."""
    rng = np.random.default_rng(0)
    batch = {"sequence": rng.normal(size=(B, T, 2)), "length": LENGTHS}
    if kind == "label":
        batch["label"] = np.where(np.arange(T) < LENGTHS[:, None], rng.integers(0, K, (B, T)), -7).astype(np.int32)
    else:
        inside = np.arange(T)[None, :, None] < LENGTHS[:, None, None]
        batch["target"] = np.where(inside, rng.normal(2, 3, (B, T, K)), beyond)
    batch |= {"valid": VALID.astype(np.uint8)} if valid else {}
    batch |= {"mask": MASK} if mask else {}
    return jnp.asarray(rng.normal(size=(B, T, K))), batch


def counted(batch):
    """The steps that count, one by one."""
    for b in range(B):
        for t in range(int(LENGTHS[b])):
            if ("valid" not in batch or VALID[b, t]) and ("mask" not in batch or MASK[b]):
                yield b, t


def task_of(kind, **options):
    if kind == "label":
        return train.classification(class_weights=CLASS_WEIGHTS, **options)
    return train.regression(centre=(1.0, 2.0, 3.0), scale=(0.5, 1.0, 2.0), **options)


def literal(kind, outputs, batch):
    """(Σ value·weight, Σ weight) with loops."""
    loss, weight = 0.0, 0.0
    for b, t in counted(batch):
        y = np.asarray(outputs[b, t])
        if kind == "label":
            label = int(batch["label"][b, t])
            w = CLASS_WEIGHTS[label]
            value = np.log(np.exp(y).sum()) - y[label]
        else:
            w = 1.0
            z = (np.asarray(batch["target"][b, t]) - np.array([1, 2, 3])) / np.array([0.5, 1, 2])
            value = np.sum(0.5 * (y - z) ** 2)
        loss, weight = loss + w * value, weight + w
    return loss, weight


@pytest.mark.parametrize("kind", ["label", "target"])
@pytest.mark.parametrize("valid", [True, False])
@pytest.mark.parametrize("mask", [True, False])
def test_loss_is_that_of_a_loop_over_the_steps_that_count(kind, valid, mask, x64):
    outputs, batch = batch_of(kind, valid=valid, mask=mask)
    task = train.on_sequences(task_of(kind), every_step=True)
    values, weights = task.loss(outputs, batch)
    assert values.shape == weights.shape == (B, T)
    loss, weight = literal(kind, outputs, batch)
    np.testing.assert_allclose([jnp.sum(values * weights), jnp.sum(weights)], [loss, weight], rtol=1e-12)
    there = np.zeros((B, T), bool)
    there[tuple(np.array(list(counted(batch))).T)] = True
    np.testing.assert_array_equal(np.asarray(weights) > 0, there)
    np.testing.assert_array_equal(train.counted_steps(batch, T), there)


@pytest.mark.parametrize("kind", ["label", "target"])
def test_metrics_are_those_of_the_steps_as_examples(kind, x64):
    outputs, batch = batch_of(kind)
    task = task_of(kind)
    b, t = np.array(list(counted(batch))).T
    expected = task.metrics(outputs[b, t], {kind: batch[kind][b, t]})
    found = train.on_sequences(task, every_step=True).metrics(outputs, batch)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-12, atol=1e-12, err_msg=name)
    assert task.finalise(found) == task.finalise(found) and task.finalise(found)["count"] == len(b)


@pytest.mark.parametrize("kind", ["label", "target"])
def test_gradients_are_finite_and_none_where_nothing_counts(kind, x64):
    outputs, batch = batch_of(kind)
    task = train.on_sequences(task_of(kind), every_step=True)

    def total(outputs):
        values, weights = task.loss(outputs, batch)
        return jnp.sum(values * weights)

    gradient = np.asarray(jax.grad(total)(outputs))
    there = np.asarray(train.counted_steps(batch, T)) > 0
    assert np.isfinite(gradient).all() and (gradient[there] != 0).any(-1).all() and not gradient[~there].any()
    step = 1e-6
    for place in ((0, 0, 0), (2, 1, 1), (2, 5, 1)):
        moved = [total(outputs.at[place].add(sign * step)) for sign in (1, -1)]
        # Central differences of step 1e-6 in float64.
        assert gradient[place] == pytest.approx(float(moved[0] - moved[1]) / (2 * step), rel=1e-6, abs=1e-8)


def test_nan_beyond_the_end_is_harmless(x64):
    """JAX's own search for NaN would stop at the input."""
    task = train.on_sequences(task_of("target"), every_step=True)
    found = []
    with jax.debug_nans(False):
        for beyond in (np.nan, 0.0):
            outputs, batch = batch_of("target", beyond=beyond)

            def total(outputs, batch=batch):
                values, weights = task.loss(outputs, batch)
                return jnp.sum(values * weights)

            found.append((jax.value_and_grad(total)(outputs), task.metrics(outputs, batch)))
    jax.tree.map(np.testing.assert_array_equal, *found)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))


@pytest.mark.parametrize("kind", ["label", "target"])
def test_jit_is_eager_and_vmap_is_a_loop(kind, x64):
    outputs, batch = batch_of(kind)
    task = train.on_sequences(task_of(kind), every_step=True)
    for function in (task.loss, task.metrics):
        eager, compiled = function(outputs, batch), jax.jit(function)(outputs, batch)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12), compiled, eager)
    one = [task.metrics(outputs[i : i + 1], {n: v[i : i + 1] for n, v in batch.items()}) for i in range(B)]
    together = jax.tree.map(lambda *leaves: sum(leaves), *one)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12), together, task.metrics(outputs, batch)
    )


def test_predictions_are_those_of_every_step():
    outputs, _ = batch_of("label")
    classes = train.on_sequences(train.classification(), every_step=True).predict(outputs)
    np.testing.assert_allclose(classes, jax.nn.softmax(outputs), rtol=1e-6)  # float32
    numbers = train.on_sequences(train.regression(centre=(1.0, 2, 3), scale=(0.5, 1, 2)), every_step=True)
    np.testing.assert_allclose(
        numbers.predict(outputs), outputs * jnp.array([0.5, 1, 2])[None, None] + jnp.array([1.0, 2, 3])[None, None]
    )


def test_one_truth_for_the_whole_is_the_plain_task():
    task = train.classification()
    whole = train.on_sequences(task)
    _, batch = batch_of("label")
    sequence = whole.inputs(batch)
    assert isinstance(sequence, zoo.Sequence)
    np.testing.assert_array_equal(sequence.values, batch["sequence"])
    np.testing.assert_array_equal(sequence.lengths, LENGTHS)
    assert dataclasses.replace(whole, inputs=task.inputs) == task


MODELS = {
    "window": {"window": 3, "widths": (4,), "readout": "steps"},
    "lstm": {"width": 4, "bidirectional": True, "readout": "mean"},
    "conv1d": {"widths": (4, 4), "depths": (1, 1)},
}


@pytest.mark.parametrize("name", [*MODELS])
def test_a_step_on_a_batch_cut_to_its_longest_is_the_step_on_the_whole(name, x64, apart):
    """The law of buckets: loss, sums and new weights do not know how long the array is."""
    every_step = MODELS[name].get("readout") == "steps"
    rng = np.random.default_rng(0)
    lengths = np.array([4, 1, 3, 2])
    batch = {
        "sequence": rng.normal(size=(4, 8, 2)),
        "length": lengths,
        "label": rng.integers(0, K, (4, 8) if every_step else 4),
        "mask": np.array([1.0, 1, 1, 0]),
    }
    cut = {n: v[:, :4] if v.ndim > 1 else v for n, v in batch.items()}
    model = zoo.create(name, num_classes=K, in_channels=2, param_dtype=jnp.float64, **MODELS[name])
    task = train.on_sequences(train.classification(class_weights=CLASS_WEIGHTS), every_step=every_step)
    optimizer = train.optimiser("sgd", 0.1)
    state = train.create_state(model, task.inputs(batch), optimizer, jax.random.key(0))
    step = jax.jit(train.make_step(train.update_fn(model, task, optimizer)))
    (long, long_sums), (short, short_sums) = step(state, batch), step(state, cut)
    assert apart(short_sums, long_sums) < 1e-12 and apart(short.variables, long.variables) < 1e-12
    assert apart(short.params, state.params) > 1e-4
    count = lengths[:3].sum() if every_step else 3
    assert float(long_sums["confusion"].sum()) == count


def test_devices_do_not_change_the_step(x64, apart):
    _, batch = batch_of("label")
    batch = {n: np.concatenate([v, v[:3]]) for n, v in batch.items()}
    model = zoo.create("window", num_classes=K, in_channels=2, param_dtype=jnp.float64, **MODELS["window"])
    task = train.on_sequences(train.classification(), every_step=True)
    optimizer = train.optimiser("sgd", 0.1)
    state = train.create_state(model, task.inputs(batch), optimizer, jax.random.key(0))
    step = train.make_step(train.update_fn(model, task, optimizer))
    one = train.parallelise(step, mode="jit", devices=jax.local_devices()[:1])
    four = train.parallelise(step, mode="pmap", devices=jax.local_devices()[:4])
    found = [p.fetch(p(p.place(state), p.split(batch))[0]).params for p in (one, four)]
    assert apart(found[1], found[0]) < 1e-12
