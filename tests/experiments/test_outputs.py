"""What outputs mean, and which training records are chosen."""

import json

import numpy as np
import pytest

from zoo.errors import UserError
from zoo_datasets.loading.records import ArraySource, Dataset
from zoo_experiments.verbs.experiment import chosen
from zoo_experiments.verbs.outputs import Outputs, outputs_from_json, outputs_of


def test_classes_and_numbers_are_told_apart():
    classes = outputs_of(Dataset("toy", {}, ("a", "b"), ""))
    assert (classes.kind, classes.names, classes.truth, classes.score) == (
        "classification", ("a", "b"), "label", "accuracy",
    )  # fmt: skip
    numbers = outputs_of(Dataset("toy", {}, None, "", targets={"radius": "px"}))
    assert (numbers.kind, numbers.names, numbers.truth, numbers.score) == ("regression", ("radius",), "target", "r2")
    with pytest.raises(UserError, match="toy has no labels"):
        outputs_of(Dataset("toy", {}, None, ""))


def test_targets_are_standardised_by_the_training_data_and_survive_json():
    targets = np.random.default_rng(0).normal((3, -20), (2, 5), (50, 2)).astype(np.float32)
    outputs = Outputs(targets={"a": "px", "b": ""}).standardised_by(targets)
    np.testing.assert_allclose(outputs.centre, targets.astype(np.float64).mean(0))
    np.testing.assert_allclose(outputs.scale, targets.astype(np.float64).std(0))
    assert outputs_from_json(json.loads(json.dumps(outputs.as_json()))) == outputs
    assert outputs_from_json(Outputs(("x", "y")).as_json()) == Outputs(("x", "y"))


def test_targets_that_cannot_be_learned_are_refused():
    with pytest.raises(UserError, match="the same b"):
        Outputs(targets={"a": "", "b": ""}).standardised_by(np.array([[1.0, 2.0], [3.0, 2.0]]))
    with pytest.raises(UserError, match=r"\(N, 1\) for a; got \(4,\)"):
        Outputs(targets={"a": ""}).standardised_by(np.zeros(4))


SOURCE = ArraySource({"label": np.repeat([0, 1, 2], [60, 30, 10]), "number": np.arange(100)})


@pytest.mark.parametrize("count", [10, 20, 50, 100])
def test_chosen_records_keep_the_shares_of_the_classes(count):
    kept = chosen(SOURCE, count, seed=0).arrays
    np.testing.assert_allclose(np.bincount(kept["label"]), np.array([0.6, 0.3, 0.1]) * count, atol=1)
    assert len(set(kept["number"])) == count


def test_smaller_choices_are_part_of_larger_ones_and_seeds_differ():
    small, large, other = (set(chosen(SOURCE, n, seed=s).arrays["number"]) for n, s in [(20, 0), (50, 0), (20, 1)])
    assert small < large and small != other


def test_choices_that_cannot_be_made_are_refused():
    with pytest.raises(UserError, match="asks for 101 records, there are 100"):
        chosen(SOURCE, 101, seed=0)
    with pytest.raises(UserError, match="class 2 has no training record"):
        chosen(SOURCE, 2, seed=0)
