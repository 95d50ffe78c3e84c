"""`zoo evaluate`: other splits and other data; looks at the test split are counted and told."""

import csv

import numpy as np
import pytest

from zoo_experiments.verbs.evaluating import as_text, value_of, write_predictions
from zoo_experiments.verbs.outputs import Outputs


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_test_split_is_evaluated_counted_and_reported(zoo, copied):
    before = copied.read("results.json")
    assert "not been looked at" in " ".join(copied.file("report.html").read_text().split())
    for look in (1, 2):
        outcome = zoo("evaluate", copied.folder, "--split", "test")
        assert outcome.code == 0, outcome.err
        results = copied.read("results.json")
        assert results["looks"] == {"validation": 1, "test": look}
    row = value_of(results, "accuracy", "test")
    assert f"test accuracy: {as_text(row)}" in outcome.out and "validation" not in outcome.out
    # The validation metrics and what is known of the training stay; the test metrics are there once.
    assert [r for r in results["metrics"] if r["split"] == "validation"] == before["metrics"]
    assert len(results["metrics"]) == 2 * len(before["metrics"])
    for name in ("command", "step", "steps", "training_seconds", "parameters", "seed"):
        assert results[name] == before[name], name
    page = " ".join(copied.file("report.html").read_text().split())
    assert "The test split was looked at 2 times." in page and f"{row['value']:.3f}" in page
    rows = table(copied.file("predictions_test.csv"))
    assert np.mean([r["true"] == r["predicted"] for r in rows]) == row["value"]


def test_evaluating_the_validation_split_again_gives_the_same_numbers(zoo, copied):
    before = copied.read("results.json")["metrics"]
    assert zoo("evaluate", "radio_galaxies", "--runs", copied.folder.parent.parent).code == 0
    assert copied.read("results.json")["metrics"] == before
    assert copied.read("results.json")["looks"] == {"validation": 2}


@pytest.fixture
def other(arrays, tmp_path):
    """Function (**changes) → path of a data set that differs from the tiny one by them."""

    def made(**changes):
        np.savez(tmp_path / "other.npz", **{**arrays, **changes})
        return tmp_path / "other.npz"

    return made


def test_other_data_are_evaluated_and_nothing_is_written(zoo, trained, arrays, other):
    files = {path: path.stat().st_mtime_ns for path in trained.folder.rglob("*")}
    same = zoo("evaluate", trained.folder, "--data", other())
    stored = value_of(trained.read("results.json"), "accuracy", "validation")
    assert same.code == 0 and f"validation accuracy: {as_text(stored)}" in same.out
    # Turned by 90°, which the d4 views do not notice; with every label moved on, what was right is wrong.
    moved = zoo(
        "evaluate", trained.folder, "--data",
        other(x_test=np.rot90(arrays["x_test"], axes=(1, 2)), y_test=(arrays["y_test"] + 1) % 3), "--split", "test",
    )  # fmt: skip
    value = float(moved.out.split("accuracy: ")[1].split()[0])
    assert moved.code == 0 and value < 0.3
    assert {path: path.stat().st_mtime_ns for path in trained.folder.rglob("*")} == files


def test_other_classes_are_refused(zoo, trained, other):
    outcome = zoo("evaluate", trained.folder, "--data", other(class_names=np.array(["a", "b", "c"])))
    assert outcome.code == 2 and "('a', 'b', 'c')" in outcome.err and "('small', 'middle', 'large')" in outcome.err


def test_other_channels_are_refused(zoo, trained, arrays, other):
    images = {name: np.repeat(array, 3, axis=3) for name, array in arrays.items() if name.startswith("x")}
    outcome = zoo("evaluate", trained.folder, "--data", other(**images))
    assert outcome.code == 2 and "(16, 16, 3)" in outcome.err and "(16, 16, 1)" in outcome.err


def test_predictions_are_written_with_names_and_without_truth(tmp_path):
    probabilities, classes = np.array([[0.25, 0.75], [0.5, 0.5]]), Outputs(("a", "b"))
    write_predictions(tmp_path / "p.csv", probabilities, classes, names=["one.png", "x,y.png"])
    assert (tmp_path / "p.csv").read_text().splitlines() == [
        "record,name,predicted,p a,p b",
        "0,one.png,b,0.250000,0.750000",
        '1,"x,y.png",a,0.500000,0.500000',
    ]
    write_predictions(tmp_path / "p.csv", probabilities[:1], classes, truth=np.array([0]))
    assert (tmp_path / "p.csv").read_text() == "record,true,predicted,p a,p b\n0,a,b,0.250000,0.750000\n"


def test_metrics_read_as_text():
    row = {"name": "nll", "split": "test", "value": 0.8454, "interval": [0.7881, 0.8889], "count": 200}
    assert as_text(row) == "0.845 (95 % 0.788–0.889, n = 200)"
    assert value_of({"metrics": [row]}, "nll", "test") == row and value_of({}, "nll", "test") is None
