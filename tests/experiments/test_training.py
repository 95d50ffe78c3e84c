"""Training again: finished runs end at once, damage and signals cost nothing, and devices do not change the numbers."""

import shutil
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

from zoo_experiments.verbs.runs import open_run


def values(run):
    """All arrays of the state a run keeps, by their path; the key as its data."""
    state = run.weights(run.setup(splits=("train", "validation"))).state
    state = state.replace(key=jax.random.key_data(state.key))
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(state)}


def assert_bitwise(run, expected):
    ours, theirs = values(run), values(expected)
    assert ours.keys() == theirs.keys()
    for name in theirs:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
    assert (
        run.file("predictions_validation.csv").read_bytes() == expected.file("predictions_validation.csv").read_bytes()
    )
    assert run.read("results.json")["metrics"] == expected.read("results.json")["metrics"]


def last_checkpoint(run):
    return max((path for path in run.file("checkpoints").iterdir() if path.name.isdigit()), key=lambda p: int(p.name))


def test_the_same_command_again_finishes_at_once_with_the_same_results(zoo, command, trained, copied, tmp_path):
    outcome = zoo(*command(tmp_path / "runs", "--no-report"))
    assert outcome.code == 0 and "Resuming at step 23 of 23" in outcome.err
    assert "First step" not in outcome.err
    assert_bitwise(copied, trained)
    assert copied.file("metrics.csv").read_bytes() == trained.file("metrics.csv").read_bytes()


def delete(folder):
    shutil.rmtree(folder)


def flip(folder):
    path = max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [delete, flip])
def test_after_damage_training_falls_back_and_ends_bitwise_the_same(damage, zoo, command, trained, copied, tmp_path):
    damage(last_checkpoint(copied))
    outcome = zoo(*command(tmp_path / "runs", "--no-report"))
    assert outcome.code == 0 and "Resuming at step 12 of 23" in outcome.err, outcome.err
    if damage is flip:
        assert "Checkpoint 23" in outcome.err and "another checksum" in outcome.err
    assert_bitwise(copied, trained)


def test_with_all_checkpoints_damaged_nothing_is_trained_over(zoo, command, copied, tmp_path):
    for step in ("12", "23"):
        flip(copied.file("checkpoints") / step)
    outcome = zoo(*command(tmp_path / "runs", "--no-report"))
    assert outcome.code == 2 and "None of the 2 checkpoints" in outcome.err and "Move the folder away" in outcome.err


LONGER = ("--epochs", "16", "--evaluations", "3", "--no-report")  # 120 steps: a signal comes long before the end


@pytest.fixture(scope="module")
def straight(zoo, command, tmp_path_factory):
    """A longer run that nothing stopped."""
    runs = tmp_path_factory.mktemp("straight")
    assert zoo(*command(runs, *LONGER)).code == 0
    return open_run("radio_galaxies", root=str(runs))


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_saves_and_the_same_command_ends_bitwise_the_same(
    number, zoo, command, straight, tmp_path, subprocess_environment
):
    argv = [sys.executable, "-m", "zoo_experiments.verbs.cli", *command(tmp_path, *LONGER)]
    pipes = {"stderr": subprocess.PIPE, "stdout": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(argv, env=subprocess_environment, **pipes) as process:
        said = ""
        for line in process.stderr:
            said += line
            if line.startswith("First step"):
                process.send_signal(number)
    assert process.returncode == 128 + number, said
    assert f"Stopped by {number.name}: saved at step" in said and "the same command goes on" in said
    assert "Traceback" not in said
    stopped = open_run("radio_galaxies", root=str(tmp_path))
    step = int(last_checkpoint(stopped).name)
    assert 0 < step < 120 and not stopped.file("results.json").exists()
    outcome = zoo(*command(tmp_path, *LONGER))
    assert outcome.code == 0 and f"Resuming at step {step} of 120" in outcome.err
    assert_bitwise(stopped, straight)


def test_pmap_over_four_devices_gives_the_same_metrics(zoo, command, trained, tmp_path):
    outcome = zoo(*command(tmp_path, "--mode", "pmap", "--devices", "4", "--no-report"))
    assert outcome.code == 0, outcome.err
    ours = open_run("radio_galaxies", root=str(tmp_path)).read("results.json")["metrics"]
    theirs = trained.read("results.json")["metrics"]
    for one, two in zip(ours, theirs, strict=True):
        # Sums in another order, float32, 23 steps.
        assert one["name"] == two["name"] and one["value"] == pytest.approx(two["value"], abs=1e-4), one["name"]


def test_the_best_weights_are_kept_on_request(zoo, command, tmp_path):
    more = ["--select", "best", "--no-report", "--no-progress", "--optimisation.class-weights", "balanced"]
    outcome = zoo(*command(tmp_path, *more))
    assert outcome.code == 0 and outcome.err == ""
    run = open_run("radio_galaxies", root=str(tmp_path))
    results = run.read("results.json")
    best = [s for s in (12, 23) if run.read(f"checkpoints/manifest-{s}.json")["best"]]
    assert results["step"] == best[-1] and results["select"] == "best"
    assert results["command"].endswith("--optimisation.class-weights balanced")
