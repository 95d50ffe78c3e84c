"""Numbers instead of classes, from training to report, through the command line on a tiny data set."""

import csv

import numpy as np
import pytest

from zoo_datasets.loading.catalogue import load
from zoo_experiments.verbs.evaluating import value_of
from zoo_experiments.verbs.runs import open_run

SETTINGS = (
    *("--data", "circles/tiny", "--options", "widths=(4, 8)", "depths=(1, 1)"),
    *("--epochs", "2", "--batch-size", "8", "--evaluations", "2", "--layer", "stage2"),
    *("--optimisation.learning-rate", "0.01", "--optimisation.ema", "0"),
)


@pytest.fixture(scope="module")
def circles(zoo, tmp_path_factory):
    """A tiny trained run, and what the command line said."""
    runs = tmp_path_factory.mktemp("runs")
    outcome = zoo("train", "circles", *SETTINGS, "--runs", runs)
    assert outcome.code == 0, outcome.err
    return open_run("circles", root=str(runs)), outcome


def test_training_scores_numbers(circles):
    run, outcome = circles
    results = run.read("results.json")
    assert [row["name"] for row in results["metrics"]] == ["r2", "rmse", "mae", "bias"]
    assert "validation rmse: " in outcome.out and " r2 " in outcome.err
    train = load("circles/tiny").splits["train"]
    radii = np.array([train[i]["target"] for i in range(len(train))], np.float64)
    assert run.outputs.targets == {"radius": "px"}
    np.testing.assert_allclose((run.outputs.centre, run.outputs.scale), (radii.mean(0), radii.std(0)))


def test_predictions_are_in_units_of_the_target(circles):
    run, _ = circles
    with run.file("predictions_validation.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    truth, predicted = (np.array([float(row[f"{kind} radius"]) for row in rows]) for kind in ("true", "predicted"))
    source = load("circles/tiny").splits["validation"]
    np.testing.assert_allclose(truth, [source[i]["target"][0] for i in range(len(source))], rtol=1e-5)
    value = value_of(run.read("results.json"), "rmse", "validation")["value"]
    assert np.sqrt(np.mean((predicted - truth) ** 2)) == pytest.approx(value, rel=1e-4)


def test_the_report_speaks_of_numbers(circles):
    run, _ = circles
    page = " ".join(run.file("report.html").read_text().split())
    assert "Predicted and true" in page and "largest errors" in page and "What is confused" not in page
    assert {path.stem for path in run.file("figures").iterdir()} == {
        "learning_curves", "numbers", "worst", "best", "explanations", "kernels",
    }  # fmt: skip


def test_other_verbs_take_it(zoo, circles, tmp_path):
    run, _ = circles
    outcome = zoo("evaluate", run.folder, "--data", "circles/tiny", "--split", "test")
    assert outcome.code == 0 and "circles/tiny test rmse: " in outcome.out
    outcome = zoo("explain", run.folder, "--method", "saliency", "--target", "radius", "--out", tmp_path)
    assert outcome.code == 0, outcome.err
    assert "radiu" in zoo("explain", run.folder, "--target", "radiu").err
    source = load("circles/tiny").splits["test"]
    np.savez(tmp_path / "mine.npz", x=np.stack([source[i]["image"] for i in range(4)]))
    outcome = zoo("predict", run.folder, "--data", tmp_path / "mine.npz", "--out", tmp_path / "out.csv")
    assert outcome.code == 0 and outcome.out.startswith("mean radius ")
    assert (tmp_path / "out.csv").read_text().startswith("record,name,predicted radius\n")


def test_classes_are_refused(zoo, circles):
    outcome = zoo("evaluate", circles[0].folder, "--data", "digits/tiny")
    assert outcome.code == 2 and "radius" in outcome.err
