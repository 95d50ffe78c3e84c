"""Run folders: what a training leaves behind, how a run is found again, and what is never overwritten."""

import csv
import hashlib
import json
import os
import shlex
import shutil

import numpy as np
import pytest

from zoo import train
from zoo.errors import UserError
from zoo_experiments.verbs.experiment import differences
from zoo_experiments.verbs.runs import open_run, start_run, versions, write_json

pytestmark = pytest.mark.smoke


def contents(folder):
    """Checksum of every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_training_says_what_it_does_and_prints_every_metric(training, trained):
    outcome, _ = training
    assert "60 train, 30 validation images (16, 16, 1), 23 steps" in outcome.err
    results = trained.read("results.json")
    for row in results["metrics"]:
        assert f"validation {row['name']}: {row['value']:.3f} (95 % " in outcome.out
    assert outcome.out.splitlines()[-1] == str(trained.file("report.html"))


def test_the_planted_difference_is_learnt(trained):
    # A tenth of the labels is wrong; chance is 1/3, and 30 images reach 0.6 by chance once in 500.
    values = {row["name"]: row["value"] for row in trained.read("results.json")["metrics"]}
    assert 0.6 < values["accuracy"] <= 0.9


def test_the_configuration_says_all(trained, command):
    config = trained.read("config.json")
    assert config["experiment"] == "radio_galaxies"
    assert config["data"] == {
        "class_names": ["small", "middle", "large"],
        "image_shape": [16, 16, 1],
        "records": {"train": 60, "validation": 30},
    }
    assert config["settings"]["options"] == ["widths=(4, 8)", "depths=(1, 1)", "dropout=0.1"]
    assert trained.experiment.batch_size == 8 and trained.shape == (16, 16, 1)


def test_results_are_complete(trained, command, training):
    results = trained.read("results.json")
    names = [row["name"] for row in results["metrics"]]
    assert names == ["accuracy", *(f"recall {name}" for name in trained.class_names), "balanced_accuracy", "nll", "ece"]
    for row in results["metrics"]:
        low, high = row["interval"]
        assert low <= high and row["split"] == "validation" and row["seed"] == 0 and row["count"] in (10, 30), row
    assert results["step"] == results["steps"] == 23 and results["select"] == "last"
    # Two convolutions of 3×3, their normalisations, the head.
    assert results["parameters"] == 9 * 4 + 8 + 9 * 4 * 8 + 16 + 8 * 3 + 3
    assert results["last_call_seconds"] > results["training_seconds"] > 0 <= results["evaluation_seconds"]
    assert results["looks"] == {"validation": 1}
    assert results["versions"] == versions() and results["versions"]["jax"] != "not installed"
    assert set(results["machine"]) == {"backend", "device", "devices", "cpus"}


def test_the_command_kept_is_the_one_that_was_given(trained, command, training):
    assert shlex.split(trained.read("results.json")["command"]) == ["zoo", *command(training[1])]


def test_the_log_has_both_splits_at_every_evaluation(trained):
    rows = train.read_log(trained.file("metrics.csv"))
    assert [(row["step"], row["split"]) for row in rows] == [
        (12, "train"), (12, "validation"), (23, "train"), (23, "validation")
    ]  # fmt: skip
    last = rows[-1]
    stored = {row["name"]: row["value"] for row in trained.read("results.json")["metrics"]}
    for name in ("accuracy", "nll", "balanced_accuracy", "ece"):
        assert last[name] == pytest.approx(stored[name], abs=1e-5), name  # float32 sums against float64
    assert last["epoch"] == pytest.approx(23 * 8 / 60) and rows[0]["examples_per_second"] > 0


def test_tensorboard_events_hold_the_curves(trained):
    events = b"".join(path.read_bytes() for path in trained.file("tensorboard").glob("events.out.tfevents*"))
    for name in (b"train/loss", b"validation/accuracy", b"validation/nll"):
        assert name in events


def test_checkpoints_are_sealed(trained):
    for step in (12, 23):
        manifest = trained.read(f"checkpoints/manifest-{step}.json")
        folder = trained.file("checkpoints") / str(step)
        assert manifest["step"] == step and manifest["files"]
        for name, digest in manifest["files"].items():
            assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


def test_predictions_are_probabilities_and_agree_with_the_accuracy(trained):
    with trained.file("predictions_validation.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    table = np.array([[float(row[f"p {name}"]) for name in trained.class_names] for row in rows])
    assert [int(row["record"]) for row in rows] == list(range(30))
    np.testing.assert_allclose(table.sum(1), 1, atol=2e-6)  # three numbers of six digits
    assert [row["predicted"] for row in rows] == [trained.class_names[i] for i in table.argmax(1)]
    hits = np.mean([row["true"] == row["predicted"] for row in rows])
    assert hits == trained.read("results.json")["metrics"][0]["value"]


def test_the_kept_weights_give_the_written_numbers(trained):
    made = trained.setup(splits=("validation",))
    restored = trained.weights(made)
    assert restored.step == 23
    numbers = made.evaluation().numbers(restored.state.averaged)
    assert numbers["accuracy"] == trained.read("results.json")["metrics"][0]["value"]


def test_the_best_weights_are_those_of_the_step_that_is_marked(copied):
    config = copied.read("config.json")
    copied.write("config.json", {**config, "settings": {**config["settings"], "select": "best"}})
    for step in (12, 23):
        name = f"checkpoints/manifest-{step}.json"
        copied.write(name, {**copied.read(name), "best": step == 12})
    run = open_run(str(copied.folder))
    assert run.weights(run.setup(splits=("validation",))).step == 12


def test_the_same_configuration_opens_the_folder_again(copied):
    before = contents(copied.folder)
    again = start_run(copied.folder, copied.name, copied.setup(splits=("train", "validation")))
    assert again == copied
    assert contents(copied.folder) == before


def test_another_configuration_is_refused_and_changes_nothing(zoo, command, copied, tmp_path):
    before = contents(copied.folder)
    outcome = zoo(*command(tmp_path / "runs", "--epochs", "4", "--optimisation.weight-decay", "0.5"))
    assert outcome.code == 2
    for words in ("epochs: 3 → 4", "optimisation.weight_decay: ", "→ 0.5", "--name", "nothing in it was changed"):
        assert words in outcome.err, outcome.err
    assert "batch_size" not in outcome.err
    assert contents(copied.folder) == before


def test_other_data_under_the_same_settings_is_refused(copied, arrays, tmp_path):
    other = tmp_path / "other.npz"
    np.savez(other, **{**arrays, "x_train": arrays["x_train"][:-3], "y_train": arrays["y_train"][:-3]})
    config = copied.read("config.json")
    config["settings"]["data"] = str(other)
    write_json(copied.file("config.json"), config)
    run = open_run(str(copied.folder))
    with pytest.raises(UserError, match=r"data\.records\.train: 60 → 57"):
        start_run(run.folder, run.name, run.setup(splits=("train", "validation")))


def test_a_folder_with_something_else_in_it_is_refused(zoo, command, tmp_path):
    folder = tmp_path / "radio_galaxies" / "seed0"
    folder.mkdir(parents=True)
    (folder / "thesis.tex").write_text("years of work")
    outcome = zoo(*command(tmp_path))
    assert outcome.code == 2 and "not empty and not a run" in outcome.err
    assert contents(folder).keys() == {"thesis.tex"}


@pytest.mark.parametrize("text", ["{", "", "[1, 2]", "{}"])
def test_a_damaged_configuration_says_so(zoo, copied, text):
    copied.file("config.json").write_text(text)
    outcome = zoo("report", copied.folder)
    assert outcome.code == 2 and "config.json" in outcome.err and "move the run folder away" in outcome.err


def test_settings_of_another_version_are_named(copied):
    config = copied.read("config.json")
    config["settings"]["flux_capacitor"] = 1.21
    write_json(copied.file("config.json"), config)
    with pytest.raises(UserError, match=r"another version.*flux_capacitor"):
        open_run(str(copied.folder))


def test_parts_of_settings_of_another_version_are_named(copied):
    config = copied.read("config.json")
    config["settings"]["images"]["colour"] = "red"
    write_json(copied.file("config.json"), config)
    with pytest.raises(UserError, match=r"another version.*colour"):
        open_run(str(copied.folder))


def test_a_run_is_found_by_folder_by_name_and_as_the_newest(copied, tmp_path):
    root = tmp_path / "runs"
    assert open_run(str(copied.folder)) == open_run("radio_galaxies/seed0", root=str(root)) == copied
    newer = copied.folder.with_name("newer")
    newer.mkdir()
    write_json(newer / "config.json", copied.read("config.json"))
    for folder, time in ((copied.folder, 1000), (newer, 2000)):
        os.utime(folder / "config.json", (time, time))
    assert open_run("radio_galaxies", root=str(root)).folder == newer
    os.utime(copied.folder / "config.json", (3000, 3000))
    assert open_run("radio_galaxies", root=str(root)).folder == copied.folder


def test_an_unknown_run_names_the_closest(training, tmp_path):
    with pytest.raises(UserError, match=r"no run 'radio_galaxies/seed9'.*radio_galaxies/seed0"):
        open_run("radio_galaxies/seed9", root=str(training[1]))
    with pytest.raises(UserError, match=r"no run 'x'.*no runs in .*zoo train"):
        open_run("x", root=str(tmp_path))


def test_a_folder_that_is_no_run_is_no_run(tmp_path, training):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(UserError, match="There is no run"):
        open_run(str(tmp_path), root=str(training[1]))


def test_a_run_without_checkpoints_says_how_to_make_one(zoo, copied):
    shutil.rmtree(copied.file("checkpoints"))
    outcome = zoo("report", copied.folder)
    assert outcome.code == 2 and "no checkpoint yet" in outcome.err and "zoo train radio_galaxies" in outcome.err


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    assert differences(json.loads(path.read_text()), {"a": 1}) == []
