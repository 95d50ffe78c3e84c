"""The baseline verb on tiny data: models are fitted on the training split alone and scored as networks are."""

import dataclasses
import json

import numpy as np
import pytest

from zoo.errors import UserError
from zoo_experiments import experiments
from zoo_experiments.verbs.baselines import regress
from zoo_experiments.verbs.baselining import fit_experiment
from zoo_experiments.verbs.experiment import setup
from zoo_experiments.verbs.statistics import regression_summary

PHOTOZ = dataclasses.replace(experiments()["photoz"], data="photoz/tiny")


def test_numbers_from_a_field_of_the_data(tmp_path):
    models = fit_experiment("photoz", PHOTOZ, folder=tmp_path, splits=("validation", "test"))
    written = json.loads((tmp_path / "baselines.json").read_text())
    assert written["inputs"] == "magnitudes" and written["models"] == models
    made = setup(PHOTOZ, splits=("train", "test"))
    train, test = (made.data[split].arrays for split in ("train", "test"))
    expected = regress(train["magnitudes"].astype(float), train["target"], test["magnitudes"].astype(float), seed=0)
    for model in models:
        rows = regression_summary(expected[model["name"]], test["target"], ("redshift",))
        found = {row["name"]: row["value"] for row in model["metrics"] if row["split"] == "test"}
        assert found == pytest.approx({row["name"]: row["value"] for row in rows}, rel=1e-9)


def test_classes_from_hand_made_features_through_the_command_line(zoo, tmp_path, monkeypatch):
    from zoo_experiments import digits

    tiny = dataclasses.replace(digits.EXPERIMENTS["digits"], data="digits/tiny")
    monkeypatch.setitem(digits.EXPERIMENTS, "digits", tiny)
    outcome = zoo("baseline", "digits", "--runs", tmp_path)
    assert outcome.code == 0, outcome.err
    assert "validation accuracy: " in outcome.out and " test " not in outcome.out
    written = json.loads((tmp_path / "digits" / "baseline" / "baselines.json").read_text())
    accuracies = [row["value"] for m in written["models"] for row in m["metrics"] if row["name"] == "accuracy"]
    # Better than one in ten, on fifty images of which each class has five.
    assert len(accuracies) >= 2 and np.min(accuracies) > 0.3


def test_a_field_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"'colour'.*magnitudes"):
        fit_experiment("photoz", dataclasses.replace(PHOTOZ, baseline="colour"), folder=tmp_path)
    assert not (tmp_path / "baselines.json").exists()
