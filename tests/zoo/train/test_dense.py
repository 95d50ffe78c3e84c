"""Dense tasks: weights are mask × valid × class weight, what does not count may hold anything, sizes must agree."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from zoo.train import (
    DENSE_LOSSES,
    binary_cross_entropy,
    binary_focal,
    binary_soft_dice,
    create_state,
    cross_entropy,
    finalise,
    focal,
    gaussian_nll,
    huber,
    make_evaluation,
    make_step,
    maps,
    masks,
    optimiser,
    segmentation,
    soft_dice,
    update_fn,
)

SHAPE, K = (4, 6, 5), 3
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 2, (*SHAPE, K)).astype(np.float32)
BATCH = {
    "image": RNG.normal(size=(*SHAPE, 2)).astype(np.float32),
    "label": RNG.integers(0, K, SHAPE).astype(np.uint8),
    "masks": RNG.integers(0, 2, (*SHAPE, K)).astype(np.uint8),
    "target": RNG.normal([3, -1, 0], [2, 0.5, 1], (*SHAPE, K)).astype(np.float32),
    "valid": (RNG.uniform(size=SHAPE) < 0.8).astype(np.uint8),
    "mask": np.array([1, 1, 0, 1], np.float32),
}
WEIGHTS = BATCH["mask"][:, None, None] * BATCH["valid"]
CENTRE, SCALE = (3.0, -1.0, 0.0), (2.0, 0.5, 1.0)
CLASS_WEIGHTS = (1.0, 2.0, 0.5)

TASKS = {
    **{f"classes, {loss}": segmentation(loss=loss) for loss in DENSE_LOSSES},
    "weighted classes": segmentation(class_weights=CLASS_WEIGHTS),
    "weighted classes, dice": segmentation(loss="dice", class_weights=CLASS_WEIGHTS),
    **{f"masks, {loss}": masks(loss=loss) for loss in DENSE_LOSSES},
    "weighted masks": masks(positive_weight=(1.0, 5.0, 2.0), loss="cross_entropy+dice"),
    "boundaries": segmentation(boundary=1.0),
    "boundaries of masks": masks(boundary=1.0),
    "maps": maps(centre=CENTRE, scale=SCALE),
    "robust maps": maps(centre=CENTRE, scale=SCALE, delta=1.0),
    "variances": maps(centre=CENTRE, scale=SCALE, heteroscedastic=True),
}


def outputs_for(name):
    return np.concatenate([LOGITS, LOGITS[..., ::-1]], axis=-1) if name == "variances" else LOGITS


def mean_loss(task, batch, outputs):
    values, weights = task.loss(outputs, batch)
    assert values.shape == weights.shape
    total = jnp.sum(weights)
    return jnp.sum(values * weights) / jnp.where(total > 0, total, 1)


@functools.cache
def compiled(name):
    """(outputs, batch) → loss, gradient with respect to the outputs, sums."""
    task = TASKS[name]

    def run(outputs, batch):
        loss, gradient = jax.value_and_grad(lambda z: mean_loss(task, batch, z))(outputs)
        return loss, gradient, task.metrics(outputs, batch)

    return jax.jit(run)


def check_equal(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=2e-5, atol=1e-5)  # float32 sums of at most 360 terms in another order


@pytest.mark.parametrize("name", TASKS)
def test_what_does_not_count_may_hold_anything(name):
    outputs, hidden = outputs_for(name), WEIGHTS == 0
    loss, gradient, sums = compiled(name)(outputs, BATCH)
    assert np.isfinite(loss) and loss > 0 and np.all(np.isfinite(gradient))
    np.testing.assert_array_equal(gradient[hidden], 0)
    assert np.all(np.abs(gradient[~hidden]).max(-1) > 0)
    other = {k: v.copy() for k, v in BATCH.items()}
    other["label"][hidden], other["masks"][hidden], other["target"][hidden] = 255, 255, np.nan
    wild = outputs.copy()
    wild[hidden] = np.nan
    check_equal(compiled(name)(wild, other), (loss, gradient, sums))


def check_chosen(name, chosen):
    loss, gradient, sums = compiled(name)(outputs_for(name), BATCH)
    found = compiled(name)(outputs_for(name)[chosen], {k: v[chosen] for k, v in BATCH.items()})
    check_equal(found, (loss, gradient[chosen], sums))


@pytest.mark.parametrize("name", TASKS)
def test_the_order_of_examples_is_free(name):
    check_chosen(name, np.array([3, 2, 0, 1]))


@pytest.mark.parametrize("name", ["classes, cross_entropy+dice", "weighted masks", "variances"])
def test_masked_examples_are_absent(name):
    check_chosen(name, np.array([0, 1, 3]))


@pytest.mark.parametrize("name", TASKS)
def test_a_batch_in_which_nothing_counts(name):
    batch = {**BATCH, "mask": np.zeros(4, np.float32)}
    loss, gradient, sums = compiled(name)(outputs_for(name), batch)
    assert loss == 0 and not np.any(gradient)
    assert float(TASKS[name].loss(outputs_for(name), batch)[1].sum()) == 0
    numbers = finalise(TASKS[name], {**sums, "loss": 0.0, "weight": 0.0})
    assert numbers["count"] == numbers["loss"] == 0
    assert all(np.isfinite(v) for v in numbers.values() if isinstance(v, float))


@pytest.mark.parametrize("name", TASKS)
def test_images_without_objects_are_legal(name):
    batch = {**BATCH, **{k: np.zeros_like(BATCH[k]) for k in ("label", "masks", "target")}}
    loss, gradient, sums = compiled(name)(outputs_for(name), batch)
    assert np.isfinite(loss) and np.all(np.isfinite(gradient))
    numbers = finalise(TASKS[name], {**sums, "loss": 0.0, "weight": 0.0})
    assert all(np.isfinite(v) for v in numbers.values() if isinstance(v, float))


def average(values, weights=WEIGHTS):
    return np.average(np.asarray(values, np.float64), weights=weights)


def test_losses_are_means_over_what_counts():
    labels, truth, target = BATCH["label"], BATCH["masks"], (BATCH["target"] - CENTRE) / SCALE
    target = target.astype(np.float32)
    logits, real = jnp.asarray(LOGITS), BATCH["mask"] > 0
    of_class = WEIGHTS * np.array(CLASS_WEIGHTS)[labels]
    three = WEIGHTS[..., None] * np.ones(K)
    positive = WEIGHTS[..., None] * np.where(truth > 0, [1.0, 5.0, 2.0], 1.0)
    entropy, dice = cross_entropy(logits, labels), soft_dice(logits, labels, weights=WEIGHTS)[real].mean()
    one_by_one = lambda values, weights: np.mean([average(values[i], weights[i]) for i in np.flatnonzero(real)])
    twice = outputs_for("variances")
    expected = {
        "classes, cross_entropy": average(entropy),
        "classes, focal": average(focal(logits, labels)),
        "classes, dice": dice,
        "classes, cross_entropy+dice": one_by_one(entropy, WEIGHTS) + dice,
        "weighted classes": average(entropy, of_class),
        "weighted classes, dice": soft_dice(logits, labels, weights=WEIGHTS, class_weights=jnp.array(CLASS_WEIGHTS))[
            real
        ].mean(),
        "masks, cross_entropy": average(binary_cross_entropy(logits, truth), three),
        "masks, focal": average(binary_focal(logits, truth), three),
        "masks, dice": binary_soft_dice(logits, truth, weights=WEIGHTS)[real].mean(),
        "weighted masks": one_by_one(np.asarray(binary_cross_entropy(logits, truth)), positive)
        + binary_soft_dice(logits, truth, weights=WEIGHTS)[real].mean(),
        "maps": average(huber(logits, target, delta=np.inf)),
        "robust maps": average(huber(logits, target, delta=1.0)),
        "variances": average(gaussian_nll(twice[..., :K], twice[..., K:], target)),
    }
    for name, value in expected.items():
        assert float(compiled(name)(outputs_for(name), BATCH)[0]) == pytest.approx(float(value), rel=1e-5), name


def test_smoothing_is_for_the_loss_alone():
    smooth, plain = segmentation(label_smoothing=0.2), segmentation()
    values, _ = smooth.loss(LOGITS, BATCH)
    counted = WEIGHTS > 0
    expected = cross_entropy(jnp.asarray(LOGITS), BATCH["label"], label_smoothing=0.2)
    np.testing.assert_allclose(np.asarray(values)[counted], np.asarray(expected)[counted], rtol=1e-6)
    check_equal(jax.jit(smooth.metrics)(LOGITS, BATCH), jax.jit(plain.metrics)(LOGITS, BATCH))


def test_predictions():
    np.testing.assert_allclose(segmentation().predict(LOGITS).sum(-1), 1, rtol=1e-6)
    np.testing.assert_allclose(masks().predict(LOGITS), 1 / (1 + np.exp(-LOGITS)), rtol=1e-5)
    mean = LOGITS * SCALE + CENTRE
    np.testing.assert_allclose(TASKS["maps"].predict(LOGITS), mean, rtol=1e-5, atol=1e-6)
    both = TASKS["variances"].predict(outputs_for("variances"))
    np.testing.assert_allclose(both[..., :K], mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(both[..., K:], np.exp(LOGITS[..., ::-1] / 2) * SCALE, rtol=1e-5)


def test_reports_are_in_units_of_the_targets():
    names = ["mass", "age", "metals"]
    task = maps(centre=CENTRE, scale=SCALE, names=names, heteroscedastic=True)
    outputs = outputs_for("variances")
    numbers = task.finalise(jax.jit(task.metrics)(outputs, BATCH))
    error = (task.predict(outputs)[..., :K] - BATCH["target"])[WEIGHTS > 0]
    assert list(numbers["rmse_of"]) == names
    np.testing.assert_allclose(list(numbers["rmse_of"].values()), np.sqrt((error**2).mean(0)), rtol=1e-5)
    z = (error / task.predict(outputs)[..., K:][WEIGHTS > 0]) ** 2
    np.testing.assert_allclose(list(numbers["z_squared_of"].values()), z.mean(0), rtol=1e-4)


def test_boundaries_are_reported_when_asked_for():
    for name in ("boundaries", "boundaries of masks"):
        numbers = TASKS[name].finalise(compiled(name)(LOGITS, BATCH)[2])
        assert 0 < numbers["boundary_f1"] < 1 and list(numbers["boundary_f1_of"]) == ["0", "1", "2"]
    assert "boundary_f1" not in segmentation().finalise(compiled("classes, dice")(LOGITS, BATCH)[2])


def test_volumes_and_missing_entries():
    logits = RNG.normal(size=(2, 3, 4, 5, K)).astype(np.float32)
    labels = RNG.integers(0, K, (2, 3, 4, 5))
    task = segmentation()
    values, weights = task.loss(logits, {"label": labels})
    np.testing.assert_allclose(values, cross_entropy(jnp.asarray(logits), labels), rtol=1e-6)
    np.testing.assert_array_equal(weights, np.ones((2, 3, 4, 5)))
    assert float(jax.jit(task.metrics)(logits, {"label": labels})["confusion"].sum()) == 120


class Pixelwise(nn.Module):
    """(B, …, C) → (B, …, 3): each pixel by itself."""

    @nn.compact
    def __call__(self, inputs, *, train: bool = False):
        return nn.Dense(3)(nn.relu(nn.Dense(8)(inputs)))


@pytest.mark.parametrize(
    ("name", "accumulate"),
    [("classes, cross_entropy+dice", 1), ("weighted classes", 2), ("weighted masks", 1), ("maps", 1)],
)
def test_a_network_learns_by_it(name, accumulate):
    image = np.random.default_rng(1).normal(size=(4, 8, 8, 3)).astype(np.float32)
    yes = (image > 0).astype(np.uint8)
    batch = {
        "image": image,
        "label": image.argmax(-1).astype(np.uint8),
        "masks": yes,
        "target": (image[..., ::-1] * SCALE + CENTRE).astype(np.float32),
        "valid": np.ones((4, 8, 8), np.uint8),
        "mask": np.array([1, 1, 1, 0], np.float32),
    }
    task, optimizer = TASKS[name], optimiser("adamw", 0.03)
    state = create_state(Pixelwise(), image[:1], optimizer, jax.random.key(0))
    step = jax.jit(make_step(update_fn(Pixelwise(), task, optimizer, accumulate=accumulate)))
    losses = []
    for _ in range(60):
        state, sums = step(state, batch)
        losses.append(float(sums["loss"] / sums["weight"]))
    assert losses[-1] < 0.3 * losses[0]
    _, sums = jax.jit(make_evaluation(Pixelwise(), task))(state.averaged, batch)
    numbers = finalise(task, sums)
    assert numbers["count"] == 3 * 64 and numbers.get("dice", numbers.get("r2")) > 0.8


def batch_with(**changes):
    return {**BATCH, **changes}


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda: segmentation(loss="hinge"), r"loss must be one of 'cross_entropy', 'focal', .*; got 'hinge'"),
        (lambda: segmentation(loss="focal", label_smoothing=0.1), "label_smoothing belongs to the cross-entropy"),
        (lambda: segmentation(class_names="ab", class_weights=[1.0]), "2 classes need as many class_weights, got 1"),
        (lambda: masks(loss="dice", positive_weight=3.0), "positive_weight belongs to losses per pixel"),
        (lambda: masks(positive_weight=0.0), "positive_weight must be above 0, got 0.0"),
        (lambda: maps(scale=(0.0,)), "scales above 0"),
        (lambda: maps(heteroscedastic=True, delta=1.0), "no delta; got delta=1.0"),
        (lambda: maps(names=["a", "b"]), "1 maps .* need as many names, got 2"),
        (
            lambda: segmentation().loss(LOGITS, batch_with(label=BATCH["label"][:, :5])),
            r"Outputs \(4, 6, 5, 3\) need label of shape \(4, 6, 5\), one class per pixel; got \(4, 5, 5\)\. Crop",
        ),
        (
            lambda: segmentation().metrics(LOGITS, batch_with(valid=BATCH["valid"][:, :, :1])),
            r"Outputs \(4, 6, 5, 3\) need valid of shape \(4, 6, 5\), one 0 or 1 per pixel; got \(4, 6, 1\)",
        ),
        (
            lambda: segmentation(class_names="ab").loss(LOGITS, BATCH),
            r"3 classes \(outputs .* as many class_names, got 2",
        ),
        (lambda: segmentation(class_weights=[1, 2]).loss(LOGITS, BATCH), r"3 classes .* as many class_weights, got 2"),
        (
            lambda: masks().loss(LOGITS, batch_with(masks=BATCH["masks"][..., :2])),
            r"Outputs \(4, 6, 5, 3\) need masks of shape \(4, 6, 5, 3\), .*; got \(4, 6, 5, 2\)",
        ),
        (lambda: masks(names="ab").loss(LOGITS, BATCH), r"3 maps \(outputs .* as many names, got 2"),
        (lambda: masks(positive_weight=(1.0, 2.0)).loss(LOGITS, BATCH), "3 maps need 1 or 3 values .*, got 2"),
        (
            lambda: TASKS["variances"].loss(LOGITS, BATCH),
            r"3 maps need outputs \(B, …, 6\) \(means, .* got \(4, 6, 5, 3\)",
        ),
        (
            lambda: TASKS["maps"].metrics(LOGITS, batch_with(target=BATCH["target"][..., :1])),
            r"Outputs \(4, 6, 5, 3\) need target of shape \(4, 6, 5, 3\), 3 numbers per pixel; got \(4, 6, 5, 1\)",
        ),
    ],
)
def test_wrong_arguments(function, message):
    with pytest.raises(ValueError, match=message):
        function()
