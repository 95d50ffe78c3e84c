"""The classification task: weights and masks as documented."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.train import classification, classification_report, classification_sums, cross_entropy, finalise

LOGITS = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)), jnp.float32)
BATCH = {"image": jnp.zeros((5, 2)), "label": jnp.array([0, 1, 2, 1, 0]), "mask": jnp.array([1.0, 1, 1, 0, 0])}


def test_weights_are_mask_times_class_weight():
    values, weights = classification(class_weights=[1.0, 2.0, 0.5], label_smoothing=0.1).loss(LOGITS, BATCH)
    np.testing.assert_array_equal(weights, [1, 2, 0.5, 0, 0])
    np.testing.assert_array_equal(values, cross_entropy(LOGITS, BATCH["label"], label_smoothing=0.1))


def test_a_batch_without_mask_counts_whole():
    batch = {k: v for k, v in BATCH.items() if k != "mask"}
    task = classification()
    np.testing.assert_array_equal(task.loss(LOGITS, batch)[1], np.ones(5))
    assert float(task.metrics(LOGITS, batch)["confusion"].sum()) == 5


def test_metrics_are_neither_smoothed_nor_weighted():
    odd = classification(class_weights=[1.0, 2.0, 0.5], label_smoothing=0.5).metrics(LOGITS, BATCH)
    plain = classification_sums(LOGITS, BATCH["label"], BATCH["mask"])
    for name, value in plain.items():
        np.testing.assert_array_equal(odd[name], value)


def test_finalise_adds_the_weighted_mean_loss():
    task = classification(class_weights=[1.0, 2.0, 0.5], class_names=["a", "b", "c"])
    values, weights = task.loss(LOGITS, BATCH)
    sums = {"loss": jnp.sum(values * weights), "weight": jnp.sum(weights), **task.metrics(LOGITS, BATCH)}
    numbers = finalise(task, sums)
    assert numbers["loss"] == pytest.approx(float(np.average(values, weights=weights)), rel=1e-6)
    assert list(numbers["recall"]) == ["a", "b", "c"]
    assert {**numbers, "loss": 0} == {**classification_report(sums, ["a", "b", "c"]), "loss": 0}
    nothing = {**sums, "loss": jnp.zeros(()), "weight": jnp.zeros(())}
    assert finalise(task, nothing)["loss"] == 0.0


def test_prediction_and_inputs():
    task = classification()
    np.testing.assert_array_equal(task.predict(LOGITS), jax.nn.softmax(LOGITS))
    assert task.inputs(BATCH) is BATCH["image"]
    other = dataclasses.replace(task, inputs=lambda batch: batch["label"])
    assert other.inputs(BATCH) is BATCH["label"] and other.loss is task.loss


def test_wrong_number_of_class_weights():
    with pytest.raises(ValueError, match="3 classes need as many class_weights, got 2"):
        classification(class_weights=[1.0, 2.0]).loss(LOGITS, BATCH)
