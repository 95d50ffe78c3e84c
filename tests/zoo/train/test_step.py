"""The training step against the same step written by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from zoo.augment import Augmentation
from zoo.layers import Dropout
from zoo.train import Task, classification, create_state, make_evaluation, make_step, optimiser, update_fn

CLASS_WEIGHTS = (1.0, 2.0, 0.5)
SHAPE = (4, 4, 1)


class Noisy(nn.Module):
    """Dropout and nothing else that is random; without `mask` and `axis_name`."""

    @nn.compact
    def __call__(self, inputs, *, train: bool = False):
        return nn.Dense(3)(Dropout(0.5)(nn.Dense(16)(inputs), train=train))


def build(model, batch, *, name="sgd", rate=0.1, task=None, ema=False, decay=None, seed=0, **options):
    """(state, jitted step) of a model."""
    optimizer = optimiser(name, rate, **options.pop("optimiser", {}))
    task = task or classification()
    state = create_state(model, batch["image"][:1], optimizer, jax.random.key(seed), ema=ema)
    return state, jax.jit(make_step(update_fn(model, task, optimizer, **options), ema_decay=decay))


def dtypes(tree):
    return jax.tree.map(lambda leaf: (leaf.dtype, leaf.shape, getattr(leaf, "weak_type", None)), tree)


def test_a_step_is_a_hand_written_gradient_step(x64, perceptron, make_batch, apart):
    model, batch = perceptron(param_dtype=jnp.float64), make_batch(size=7, dtype=np.float64)
    task = classification(class_weights=CLASS_WEIGHTS, label_smoothing=0.1)
    state, step = build(model, batch, task=task, optimiser={"momentum": 0.0})

    def mean_loss(params):
        log_p = jax.nn.log_softmax(model.apply({"params": params}, batch["image"]))
        target = 0.9 * jax.nn.one_hot(batch["label"], 3, dtype=jnp.float64) + 0.1 / 3
        weights = batch["mask"] * jnp.array(CLASS_WEIGHTS)[batch["label"]]
        return jnp.sum(-jnp.sum(target * log_p, axis=-1) * weights) / jnp.sum(weights)

    loss, grads = jax.value_and_grad(mean_loss)(state.params)
    new, sums = step(state, batch)
    assert apart(new.params, jax.tree.map(lambda p, g: p - 0.1 * g, state.params, grads)) < 1e-14
    np.testing.assert_allclose(sums["loss"] / sums["weight"], loss, rtol=1e-14)
    assert float(sums["weight"]) == sum(
        m * CLASS_WEIGHTS[k] for m, k in zip(batch["mask"], batch["label"], strict=True)
    )
    assert int(new.step) == 1


@pytest.mark.parametrize("parts", [2, 3, 6])
def test_accumulated_parts_are_one_batch(x64, perceptron, make_batch, apart, parts):
    model, batch = perceptron(param_dtype=jnp.float64), make_batch(size=12, dtype=np.float64)
    task = classification(class_weights=CLASS_WEIGHTS)
    state, whole = build(model, batch, task=task)
    _, in_parts = build(model, batch, task=task, accumulate=parts)
    (a, a_sums), (b, b_sums) = whole(state, batch), in_parts(state, batch)
    assert apart(b.params, a.params) < 1e-12
    assert apart(b_sums, a_sums) < 1e-12


def test_a_loop_that_is_not_unrolled_accumulates_the_same(x64, perceptron, make_batch, apart, monkeypatch):
    model, batch = perceptron(param_dtype=jnp.float64), make_batch(size=12, dtype=np.float64)
    state, unrolled = build(model, batch, accumulate=3)
    expected, _ = unrolled(state, batch)
    _, looped = build(model, batch, accumulate=3)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert apart(looped(state, batch)[0].params, expected.params) < 1e-14


def test_a_batch_that_does_not_split_into_parts(perceptron, make_batch):
    batch = make_batch(size=8)
    state, step = build(perceptron(), batch, accumulate=3)
    with pytest.raises(ValueError, match="batch of 8 per device cannot be split into 3 equal parts"):
        step(state, batch)


def test_moving_average_by_hand(x64, convnet, make_batch, apart):
    model, batch = convnet(param_dtype=jnp.float64), make_batch(shape=SHAPE, dtype=np.float64)
    state, step = build(model, batch, ema=True, decay=0.15)
    expected = state.variables
    for t in range(3):
        state, _ = step(state, batch)
        d = min(0.15, (1 + t) / (10 + t))  # 1/10, then 0.15 twice
        expected = jax.tree.map(lambda e, v, d=d: d * e + (1 - d) * v, expected, state.variables)
    assert apart(state.ema, expected) < 1e-14
    assert state.averaged is state.ema
    assert apart(state.ema, state.variables) > 1e-6


def test_without_moving_average_the_variables_are_evaluated(perceptron, make_batch, bits):
    state, _ = build(perceptron(), make_batch())
    assert state.ema is None and bits(state.averaged) == bits(state.variables)


def test_decay_without_moving_average(perceptron, make_batch):
    state, step = build(perceptron(), make_batch(), decay=0.9)
    with pytest.raises(ValueError, match=r"ema_decay needs a state made by create_state\(…, ema=True\)"):
        step(state, make_batch())


def test_a_state_is_a_function_of_its_key(convnet, make_batch, bits):
    batch = make_batch(shape=SHAPE)
    a, b, other = (build(convnet(), batch, seed=seed)[0] for seed in (0, 0, 1))
    assert bits(a) == bits(b)
    assert bits(a.params) != bits(other.params) and bits(a.key) != bits(other.key)


def test_randomness_is_of_the_step_and_the_key(make_batch, bits):
    batch = make_batch()
    state, step = build(Noisy(), batch, rate=0.0, augment=lambda key, x: x + jax.random.normal(key, x.shape))
    loss = lambda state: float(step(state, batch)[1]["loss"])
    assert loss(state) == loss(state)
    after, _ = step(state, batch)
    assert bits(after.params) == bits(state.params)  # rate 0: only the step count differs
    assert loss(after) != loss(state)
    assert loss(state.replace(key=jax.random.key(5))) != loss(state)
    assert bits(after.key) == bits(state.key)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_every_example_draws_its_own_noise(accumulate, make_batch):
    size = 8
    batch = {"image": np.ones((size, 4), np.float32), "label": np.zeros(size, np.int32)}
    seen = []

    def augment(key, x):
        noise = jax.random.normal(key, x.shape)
        jax.debug.callback(lambda n: seen.append(np.asarray(n)), noise)
        return x + noise

    state, step = build(Noisy(), batch, augment=augment, accumulate=accumulate)
    jax.block_until_ready(step(state, batch))
    jax.effects_barrier()
    rows = np.unique(np.concatenate([n.reshape(-1, 4) for n in seen]), axis=0)
    assert len(rows) == size


def test_a_step_is_pure(convnet, make_batch, bits):
    batch = make_batch(shape=SHAPE)
    state, step = build(convnet(dropout=0.5), batch, name="adamw", ema=True, decay=0.9)
    before = bits(state)
    first, second = step(state, batch), step(state, batch)
    assert bits(first) == bits(second) and bits(state) == before
    assert bits(first[0].params) != bits(state.params)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_no_second_compilation_and_no_change_of_types(convnet, make_batch, accumulate):
    batch = make_batch(shape=SHAPE)
    state, step = build(
        convnet(dropout=0.5), batch, name="adamw", ema=True, decay=0.9, accumulate=accumulate, optimiser={"clip": 1.0}
    )
    at_first = dtypes(state)
    for _ in range(3):
        state, _ = step(state, batch)
    assert step._cache_size() == 1
    assert dtypes(state) == at_first
    assert int(state.step) == 3


@pytest.mark.parametrize("name", ["float32", "float64"])
def test_types_stay_under_x64(x64, convnet, make_batch, name):
    model, batch = convnet(param_dtype=jnp.dtype(name)), make_batch(shape=SHAPE, dtype=np.float64)
    state, step = build(model, batch, name="adamw", ema=True, decay=0.9, optimiser={"weight_decay": 0.1, "clip": 1.0})
    at_first = dtypes(state)
    for _ in range(2):
        state, _ = step(state, batch)
    assert dtypes(state) == at_first
    assert {leaf.dtype for leaf in jax.tree.leaves((state.variables, state.ema))} == {jnp.dtype(name)}


def test_bfloat16_trains_float32_parameters(convnet, make_batch):
    batch = make_batch(shape=SHAPE)
    state, step = build(convnet(dtype=jnp.bfloat16), batch, rate=0.1)
    losses = []
    for _ in range(15):
        state, sums = step(state, batch)
        losses.append(float(sums["loss"]))
    assert losses[-1] < 0.7 * losses[0]
    assert {leaf.dtype for leaf in jax.tree.leaves(state.variables)} == {jnp.dtype("float32")}


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_fully_masked_batch_changes_nothing_that_is_learnt(convnet, make_batch, bits, accumulate):
    batch = make_batch(shape=SHAPE)
    batch["mask"] = np.zeros_like(batch["mask"])
    state, step = build(
        convnet(), batch, name="adamw", ema=True, decay=0.9, accumulate=accumulate, optimiser={"clip": 1.0}
    )
    new, sums = step(state, batch)
    assert float(sums["weight"]) == 0.0
    assert bits(new.params) == bits(state.params) and bits(new.model_state) == bits(state.model_state)
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(new.opt_state))


def test_masked_examples_do_not_matter(x64, convnet, make_batch, apart):
    model, batch = convnet(param_dtype=jnp.float64), make_batch(shape=SHAPE, dtype=np.float64)
    state, step = build(model, batch)
    other = {**batch, "image": np.where(batch["mask"][:, None, None, None] > 0, batch["image"], 9.0)}
    other["label"] = np.where(batch["mask"] > 0, batch["label"], 0)
    (a, a_sums), (b, b_sums) = step(state, batch), step(state, other)
    assert apart((b.variables, b_sums), (a.variables, a_sums)) < 1e-14


def test_evaluation_counts_what_is_not_masked(convnet, make_batch, apart):
    model, batch = convnet(dropout=0.5), make_batch(shape=SHAPE)
    state, _ = build(model, batch)
    task = classification(class_weights=CLASS_WEIGHTS)
    evaluate = jax.jit(make_evaluation(model, task))
    outputs, sums = evaluate(state.variables, batch)
    real = batch["mask"] > 0
    np.testing.assert_allclose(outputs, model.apply(state.variables, batch["image"]), rtol=1e-5, atol=1e-6)
    _, expected = evaluate(state.variables, {k: v[real] for k, v in batch.items()})
    assert apart(sums, expected) < 1e-6
    assert float(sums["confusion"].sum()) == real.sum()


def test_views_are_averaged(x64, convnet, make_batch):
    model, batch = convnet(param_dtype=jnp.float64), make_batch(shape=SHAPE, dtype=np.float64)
    state, _ = build(model, batch)
    turns = [lambda x, k=k: jnp.rot90(x, k, axes=(1, 2)) for k in range(3)]
    evaluate = make_evaluation(model, classification(), views=lambda x: jnp.stack([turn(x) for turn in turns]))
    outputs, sums = jax.jit(evaluate)(state.variables, batch)
    looped = sum(model.apply(state.variables, turn(jnp.asarray(batch["image"]))) for turn in turns) / 3
    np.testing.assert_allclose(outputs, looped, rtol=1e-12)
    expected = classification().metrics(looped, batch)["nll"]
    np.testing.assert_allclose(sums["nll"], expected, rtol=1e-12)


def test_evaluation_without_labels_gives_outputs_alone(perceptron, make_batch):
    batch = make_batch()
    state, _ = build(perceptron(), batch)
    outputs, sums = jax.jit(make_evaluation(perceptron(), classification()))(state.variables, {"image": batch["image"]})
    assert outputs.shape == (8, 3) and sums == {}


class Pixelwise(nn.Module):
    """A linear function of every pixel."""

    @nn.compact
    def __call__(self, inputs, *, train: bool = False):
        return nn.Dense(1, use_bias=False)(inputs)


def pixel_task():
    """Half the squared error in every pixel."""

    def loss(outputs, batch):
        values = (outputs - batch["target"])[..., 0] ** 2 / 2
        return values, jnp.broadcast_to(batch["mask"][:, None, None], values.shape)

    return Task(loss, lambda *_: {}, lambda _: {}, lambda outputs: outputs, truth="target", maps=("target", "valid"))


def test_truth_that_belongs_to_pixels_moves_with_the_image(key):
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.normal(size=(8, 6, 6, 1)), jnp.float32)
    batch = {"image": image, "target": 3 * image, "mask": jnp.ones(8), "index": jnp.arange(8)}
    optimizer = optimiser("sgd", 0.1, momentum=0.0)
    state = create_state(Pixelwise(), image[:1], optimizer, key)
    kernel = float(state.params["Dense_0"]["kernel"][0, 0])
    augmentation = Augmentation(d4=True)
    step = jax.jit(make_step(update_fn(Pixelwise(), pixel_task(), optimizer, together=augmentation.together)))
    _, sums = step(state, batch)
    # Turned alike, the truth is 3 times the image in every pixel; turned alone, the image would not fit it.
    np.testing.assert_allclose(sums["loss"], (3 - kernel) ** 2 / 2 * jnp.sum(image**2), rtol=1e-5)
    alone = jax.jit(make_step(update_fn(Pixelwise(), pixel_task(), optimizer, augment=augmentation)))
    assert float(alone(state, batch)[1]["loss"]) > 1.05 * float(sums["loss"])


def test_outputs_of_views_are_turned_back(key):
    image = jax.random.normal(key, (2, 5, 5, 1))
    variables = Pixelwise().init(key, image)

    def views(images):
        return jnp.stack([images, images[:, ::-1]])

    def unview(outputs):
        return jnp.stack([outputs[0], outputs[1, :, ::-1]])

    plain, _ = make_evaluation(Pixelwise(), pixel_task())(variables, {"image": image})
    averaged, _ = make_evaluation(Pixelwise(), pixel_task(), views=views, unview=unview)(variables, {"image": image})
    np.testing.assert_allclose(averaged, plain, rtol=1e-6)
    mixed, _ = make_evaluation(Pixelwise(), pixel_task(), views=views)(variables, {"image": image})
    assert not np.allclose(mixed, plain, atol=1e-3)
