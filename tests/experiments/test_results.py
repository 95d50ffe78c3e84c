"""Scores over seeds: what enters the store, what the table says, and that nothing stored has outlived its recipe."""

import dataclasses
import json

import pytest

from zoo.errors import UserError
from zoo_experiments import experiments
from zoo_experiments.verbs import results
from zoo_experiments.verbs.experiment import as_json, from_json

EXPERIMENT = experiments()["circles"]


def run(folder, *, seed, test, experiment=EXPERIMENT, steps=10, step=10):
    folder.mkdir(parents=True)
    rows = [
        {"name": "r2", "split": split, "value": value, "interval": [value - 0.1, value], "count": 5}
        for split, value in (("validation", 0.9), ("test", test))
        if value is not None
    ]
    (folder / "config.json").write_text(json.dumps({"settings": as_json(dataclasses.replace(experiment, seed=seed))}))
    (folder / "results.json").write_text(
        json.dumps(
            {
                "seed": seed, "step": step, "steps": steps, "training_seconds": 60 * (seed + 1), "parameters": 7,
                "metrics": rows, "machine": {"cpus": 2}, "versions": {"python": "3", "jax": "0", "flax": "0"},
            }
        )
    )  # fmt: skip


def test_runs_with_the_registered_settings_are_gathered(tmp_path, capsys):
    for seed, value in enumerate((0.8, 0.9, 0.85)):
        run(tmp_path / "circles" / f"seed{seed}", seed=seed, test=value)
    run(tmp_path / "circles" / "wide", seed=3, test=0.1, experiment=dataclasses.replace(EXPERIMENT, batch_size=64))
    run(tmp_path / "circles" / "begun", seed=4, test=0.1, step=5)
    (tmp_path / "circles" / "baseline").mkdir()
    models = [
        {"name": name, "metrics": [{"name": "r2", "split": s, "value": v, "interval": [0, 1]} for s, v in values]}
        for name, values in (
            ("ridge", [("validation", 0.5), ("test", 0.6)]),
            ("forest", [("validation", 0.7), ("test", 0.4)]),
        )
    ]
    (tmp_path / "circles" / "baseline" / "baselines.json").write_text(
        json.dumps({"inputs": "hand-made features", "models": models})
    )
    store = tmp_path / "store.json"
    store.write_text(json.dumps({"speed": {"kept": True}}))
    entry = results.collect(["circles"], runs=tmp_path, path=store)["circles"]
    said = capsys.readouterr().err
    assert "wide has other settings" in said and "batch_size: 32 → 64" in said and "begun is not finished" in said
    assert [row["seed"] for row in entry["runs"]] == [0, 1, 2]
    # The baseline is chosen on the validation split.
    assert entry["baseline"]["name"] == "forest" and entry["baseline"]["test"]["value"] == 0.4
    assert list(json.loads(store.read_text())) == ["circles", "speed"]
    (row,) = results.results_table(store).rows
    assert row == (
        "circles", "convnet, 7", "r2", "0.850 ± 0.050 (3)", "5", "0.400 (forest, hand-made features)", "1.0 – 3.0",
    )  # fmt: skip


def test_without_test_scores_the_table_says_so(tmp_path):
    run(tmp_path / "circles" / "seed0", seed=0, test=None)
    store = tmp_path / "store.json"
    results.collect(["circles"], runs=tmp_path, path=store)
    assert results.results_table(store).rows[0][3] == "0.900, 0.800 – 0.900 (1) (validation)"


def test_nothing_to_gather_is_an_error(zoo, tmp_path):
    with pytest.raises(UserError, match="no finished run with the settings of circles"):
        results.collect(["circles"], runs=tmp_path, path=tmp_path / "store.json")
    outcome = zoo("results", "circels", "--collect", "--runs", tmp_path)
    assert outcome.code == 2 and "'circles'" in outcome.err


def test_errors_are_better_when_smaller(tmp_path):
    folder = tmp_path / "photoz" / "baseline"
    folder.mkdir(parents=True)
    models = [
        {"name": name, "metrics": [{"name": "sigma_nmad", "split": "validation", "value": value, "interval": [0, 1]}]}
        for name, value in (("ridge", 0.1), ("forest", 0.05))
    ]
    (folder / "baselines.json").write_text(json.dumps({"inputs": "magnitudes", "models": models}))
    assert results._baseline("photoz", "sigma_nmad", tmp_path)["name"] == "forest"


@pytest.mark.parametrize("name", [name for name in results.stored() if name in experiments()])
def test_stored_scores_belong_to_the_registered_settings(name):
    entry = results.stored()[name]
    # Options that are younger than the entry had their defaults in it.
    stored = results.settings_of(from_json(entry["settings"]))
    assert stored == results.settings_of(experiments()[name]), f"train {name} again: zoo results --collect"
    assert all("test" in row for row in entry["runs"])
