"""Score against the number of training images: which trainings are made, and what is drawn of them."""

import csv
import dataclasses
import types

import pytest

from zoo.errors import UserError
from zoo_experiments import experiments
from zoo_experiments.verbs.curve import data_curve

TINY = dataclasses.replace(experiments()["angles"], data="digits/tiny", epochs=3)


def test_every_experiment_size_and_seed_is_trained_for_as_many_steps(tmp_path):
    asked = []

    def fake(name, experiment, *, folder, progress):
        asked.append((name, experiment, folder))
        metrics = [{"name": "accuracy", "split": "validation", "value": 0.5 + 0.1 * experiment.seed}]
        return types.SimpleNamespace(read=lambda _: {"metrics": metrics})

    path = data_curve(
        {"a": TINY, "b": dataclasses.replace(TINY, model="convnet")},
        sizes=(25, 100), seeds=(0, 1), runs=tmp_path, out=tmp_path / "out", train=fake,
    )  # fmt: skip
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [(name, e.train_examples, e.epochs, e.seed) for name, e, _ in asked] == [
        (name, size % 100, epochs, seed) for name in "ab" for size, epochs in ((25, 12), (100, 3)) for seed in (0, 1)
    ]
    assert len({folder for *_, folder in asked}) == 8
    with (tmp_path / "out" / "curve.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {"experiment": "a", "size": "25", "seed": "0", "accuracy": "0.5"} and len(rows) == 8


def test_what_cannot_be_compared_is_refused(tmp_path):
    where = {"seeds": (0,), "runs": tmp_path, "out": tmp_path}
    with pytest.raises(UserError, match="same data"):
        data_curve({"a": TINY, "b": dataclasses.replace(TINY, data="circles/tiny")}, sizes=(10,), **where)
    with pytest.raises(UserError, match=r"1 … 100.*\(10, 101\)"):
        data_curve({"a": TINY}, sizes=(10, 101), **where)


def test_the_command_line_refuses_unknown_experiments(zoo):
    outcome = zoo("curve", "angels")
    assert outcome.code == 2 and "'angles'" in outcome.err
    assert zoo("curve").code == 2
