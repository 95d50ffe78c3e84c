"""One tiny run, trained once a session through the command line, that the tests share and do not change."""

import contextlib
import io
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from zoo_experiments.verbs.cli import main
from zoo_experiments.verbs.runs import open_run

CLASSES = ("small", "middle", "large")
# Every setting that the results depend on and that the registered experiment may change.
SETTINGS = (
    *("--options", "widths=(4, 8)", "depths=(1, 1)", "dropout=0.1"),
    *("--images.crop", "0", "--images.size", "16", "--images.stretch", "sqrt"),
    *("--augmentation.rotate", "0.1", "--augmentation.shift", "0", "--augmentation.zoom", "1", "1"),
    *("--optimisation.learning-rate", "0.05", "--optimisation.ema", "0.5", "--optimisation.label-smoothing", "0"),
    *("--epochs", "3", "--batch-size", "8", "--evaluations", "2", "--layer", "stage2", "--views", "d4"),
)


@dataclass(frozen=True)
class Outcome:
    """What a command line gave."""

    code: int
    out: str
    err: str


def discs(count, seed):
    """`count` noisy images (N, 16, 16, 1) of discs of three sizes and their labels (N,), a tenth of them wrong."""
    rng = np.random.default_rng(seed)
    sizes = np.arange(count) % len(CLASSES)
    labels = np.where(np.arange(count) % 10 == 3, (sizes + 1) % len(CLASSES), sizes)
    y, x = np.mgrid[:16, :16] - 7.5
    radius = np.array([2.0, 4.0, 6.5])[sizes][:, None, None]
    images = 0.6 * (np.hypot(x, y) < radius) + rng.uniform(0, 0.3, (count, 16, 16))
    return images[..., None].astype(np.float32), labels.astype(np.int32)


def call(*argv):
    """Run a command line in this process; errors without a message for people are not caught."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main([str(argument) for argument in argv])
        except SystemExit as stop:
            code = stop.code
    return Outcome(code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def zoo():
    """Function (*argv) → Outcome of `zoo *argv`."""
    return call


@pytest.fixture(scope="session")
def arrays():
    """The arrays of the tiny data set by their names in the file."""
    parts = {"train": discs(60, 0), "validation": discs(30, 1), "test": discs(30, 2)}
    named = {f"{letter}_{split}": part[i] for split, part in parts.items() for i, letter in enumerate("xy")}
    return {**named, "class_names": np.array(CLASSES)}


@pytest.fixture(scope="session")
def tiny(arrays, tmp_path_factory):
    """Path of the tiny data set."""
    path = tmp_path_factory.mktemp("data") / "discs.npz"
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="session")
def command(tiny):
    """Function (runs, *more) → the command line of the tiny training, its run folder below `runs`."""

    def made(runs, *more):
        return ["train", "radio_galaxies", "--data", str(tiny), *SETTINGS, "--runs", str(runs), *more]

    return made


@pytest.fixture(scope="session")
def training(command, tmp_path_factory):
    """The outcome of the tiny training, and the folder of its runs."""
    runs = tmp_path_factory.mktemp("runs")
    outcome = call(*command(runs))
    assert outcome.code == 0, outcome.err
    return outcome, runs


@pytest.fixture(scope="session")
def trained(training):
    """The trained tiny run; its folder is not to be changed."""
    return open_run("radio_galaxies", root=str(training[1]))


@pytest.fixture(scope="session")
def subprocess_environment(request):
    """Environment of a Python of its own that shares the tests' compiled programs."""
    return {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(request.config.rootpath / ".cache" / "jax")}


@pytest.fixture
def copied(trained, tmp_path):
    """A copy of the trained run that a test may change, below `tmp_path / "runs"`."""
    folder = tmp_path / "runs" / Path(trained.name) / trained.folder.name
    shutil.copytree(trained.folder, folder)
    return open_run(str(folder))
