"""The command line: what it prints, and that a mistake of the user costs one message and exit code 2."""

import subprocess
import sys

import numpy as np
import pytest

import zoo as library
from zoo_datasets.loading.sources import SourceError, data_dir
from zoo_experiments import experiments
from zoo_experiments.verbs import cli

pytestmark = pytest.mark.smoke
VERBS = tuple(cli._VERBS)


def assert_refused(outcome, *words):
    """Exit code 2, one message without a traceback, with these words."""
    said = " ".join(outcome.err.split())
    assert outcome.code == 2 and outcome.err, outcome
    assert "Traceback" not in outcome.err
    missing = [word for word in words if word not in said]
    assert not missing, (missing, outcome.err)


@pytest.mark.parametrize("argv", [(), ("--help",), ("-h",), ("help",)])
def test_the_overview_names_every_verb(argv, zoo):
    outcome = zoo(*argv)
    assert outcome.code == 0 and all(f"\n  {verb} " in outcome.out for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb, zoo):
    outcome = zoo(verb, "--help")
    assert outcome.code == 0 and outcome.out.startswith(f"usage: zoo {verb}")


def test_the_version_is_printed(zoo):
    assert zoo("--version").out == f"{library.__version__}\n"


def test_lists_are_printed(zoo):
    every = zoo("models").out
    assert all(name in every for name in library.names())
    some = zoo("models", "resnet*").out
    assert "resnet18" in some and "convnet" not in some
    every = zoo("experiments").out
    assert all(name in every for name in experiments())
    assert "radio_galaxies" in zoo("data").out and zoo("data").out == zoo("data", "list").out
    assert zoo("data", "where").out.strip() == str(data_dir())
    described = zoo("data", "describe", "radio_galaxies").out
    assert all(words in described for words in ("1,758 train", "Units:", "Licence:", "@"))


def test_the_options_of_training_are_those_of_the_experiment(zoo):
    text = " ".join(zoo("train", "radio_galaxies", "--help").out.split())
    chosen = experiments()["radio_galaxies"]
    assert f"default: {chosen.epochs}" in text and f"default: {chosen.optimisation.learning_rate}" in text
    for option in ("--optimisation.warmup", "--images.crop", "--augmentation.d4", "--mode {jit,pmap}", "--name"):
        assert option in text


def test_the_file_of_an_experiment_is_its_command(request, subprocess_environment):
    def said(*argv):
        return subprocess.run(
            [sys.executable, *argv], env=subprocess_environment, capture_output=True, check=True
        ).stdout

    script = request.config.rootpath / "experiments" / "radio_galaxies.py"
    command = said("-m", "zoo_experiments.verbs.cli", "train", "radio_galaxies", "--help")
    assert said(script, "--help") == command and b"--batch-size" in command


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("trian",), ("'trian'", "'train'")),
        (("train", "radio_galaxy"), ("'radio_galaxy'", "'radio_galaxies'")),
        (("bench", "radio_galaxy"), ("'radio_galaxy'", "'radio_galaxies'")),
        (("bench", "radio_galaxies", "--steps", "0"), ("steps", "at least 1", "got 0")),
        (("models", "resnet81"), ("'resnet81'", "'resnet18'")),
        (("data", "lsit"), ("'lsit'", "'list'")),
        (("data", "describe"), ("needs a name", "radio_galaxies")),
        (("data", "prepare"), ("needs a name", "radio_galaxies")),
        (("data", "describe", "radio_galaxie"), ("'radio_galaxie'", "Did you mean radio_galaxies")),
        (("evaluate",), ("required",)),
        (("evaluate", "nothing"), ("no run 'nothing'", "zoo train")),
        (("predict", "nothing", "--data", "x.npz"), ("no run 'nothing'",)),
        (("explain", "nothing"), ("no run 'nothing'",)),
        (("report", "nothing"), ("no run 'nothing'",)),
        (("readme",), ("README.md", "folder of the project")),
        (("experiments", "--colour"), ("--colour",)),
    ],
)
def test_mistakes_are_answered_with_the_closest_name_or_what_is_needed(argv, words, zoo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert_refused(zoo(*argv), *words)


@pytest.mark.parametrize("verb", ["train", "bench"])
def test_without_an_experiment_the_choice_is_printed(verb, zoo):
    outcome = zoo(verb)
    assert outcome.code == 2 and all(name in outcome.out for name in experiments())


BAD_SETTINGS = [
    ("--model convnett", ("'convnett'", "'convnet'")),
    ("--options widht=3", ("'widht'", "'widths'")),
    ("--options dropout", ("NAME=VALUE", "'dropout'")),
    ("--options dropout=2", ("dropout", "[0, 1)", "got 2")),
    ("--options num_classes=3", ("num_classes", "the data")),
    ("--layer stge2", ("'stge2'", "'stage2'")),
    ("--layer head", ("'head'", "no spatial axes", "'stage2'")),
    ("--optimisation.optimiser adamv", ("'adamv'", "'adamw'")),
    ("--optimisation.learning-rate nan", ("learning_rate", "finite", "got nan")),
    ("--optimisation.learning-rate -1", ("learning_rate", "above 0", "got -1")),
    ("--optimisation.warmup 1", ("warmup", "below 1", "got 1")),
    ("--optimisation.ema -1", ("ema", "at least 0", "got -1")),
    ("--optimisation.accumulate 3", ("batch_size", "multiple of", "3", "got 8")),
    ("--optimisation.class-weights equal", ("equal", "balanced")),
    ("--batch-size 0", ("batch_size", "at least 1", "got 0")),
    ("--epochs 0", ("epochs", "at least 1", "got 0")),
    ("--epochs -3", ("epochs", "at least 1", "got -3")),
    ("--epochs ten", ("--epochs", "'ten'")),
    ("--evaluations 0", ("evaluations", "at least 1")),
    ("--seed -1", ("seed", "got -1")),
    ("--images.size -1", ("images.size", "at least 0", "got -1")),
    ("--images.crop", ("images.crop", "at least one")),
    ("--images.crop 0 8 --images.size 0", ("set images.size",)),
    ("--augmentation.rotate -1", ("rotate", "at least 0", "got -1")),
    ("--augmentation.d4 --augmentation.flip", ("d4 or flip",)),
    ("--augmentation.crop 40 40", ("(40, 40)", "(16, 16)")),
    ("--mode pmap --devices 9", ("9 devices", "4 are there", "XLA_FLAGS")),
    ("--mode pmap --devices 3", ("batch of 8", "3 devices", "multiple of 3")),
    ("--devices -1", ("devices", "at least 0", "got -1")),
    ("--name a/b", ("name of one folder", "'a/b'")),
    ("--name ..", ("name of one folder", "'..'")),
    ("--no-such-option", ("--no-such-option",)),
]


@pytest.mark.parametrize(("more", "words"), BAD_SETTINGS, ids=[more for more, _ in BAD_SETTINGS])
def test_bad_settings_are_refused_before_anything_is_written(more, words, zoo, command, tmp_path):
    assert_refused(zoo(*command(tmp_path / "runs", *more.split())), *words)
    assert not (tmp_path / "runs").exists()


def changed(name, change):
    """Function of the tiny arrays → the same with one of them changed."""
    return lambda arrays: {**arrays, name: change(arrays[name])}


def with_value(index, value):
    def change(array):
        array = array.copy()
        array[index] = value
        return array

    return change


BAD_DATA = {
    "label out of range": (changed("y_train", with_value(7, 9)), ("record 7 of x_train", "0 … 2", "got 9")),
    "label not whole": (changed("y_train", lambda y: y + 0.5), ("whole numbers", "record 0")),
    "NaN": (changed("x_train", with_value((11, 3, 4), np.nan)), ("x_train", "record 11", "NaN", "replace")),
    "empty split": (lambda a: {**a, "x_validation": a["x_validation"][:0], "y_validation": a["y_validation"][:0]},
                    ("x_validation", "at least one image", "(0, 16, 16, 1)")),
    "other size": (changed("x_validation", lambda x: x[:, 1:]), ("one shape", "(16, 16, 1)", "(15, 16, 1)")),
    "flat images": (changed("x_train", lambda x: x.reshape(60, -1)), ("(N, H, W", "got the shape (60, 256)")),
    "too few labels": (changed("y_train", lambda y: y[:50]), ("60 images", "(50,)")),
    "one-hot labels": (changed("y_train", lambda y: np.eye(3)[y]), ("(60,)", "(60, 3)", "argmax")),
    "no labels": (lambda a: {"x": a["x_train"]}, ("without labels", "expected one of y")),
    "one class": (lambda a: {"x": a["x_train"], "y": np.zeros(60, int)}, ("at least 2 classes", "got 1")),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data_are_refused_by_file_and_record(case, zoo, command, arrays, tmp_path):
    change, words = BAD_DATA[case]
    path = tmp_path / "bad.npz"
    np.savez(path, **change(arrays))
    assert_refused(zoo(*command(tmp_path / "runs", "--data", path)), "bad.npz", *words)
    assert not (tmp_path / "runs").exists()


def test_files_that_cannot_be_read_are_refused(zoo, command, tiny, tmp_path):
    whole = tiny.read_bytes()
    (tmp_path / "half.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "data.doc").write_text("hello")
    (tmp_path / "short.txt").write_text("hello")
    cases = [
        (tmp_path / "none.npz", "no file or folder"),
        (tmp_path / "half.npz", "truncated"),
        (tmp_path / "data.doc", "not known"),
        ("radio_galaxie", "Did you mean radio_galaxies"),
    ]
    for data, words in cases:
        assert_refused(zoo(*command(tmp_path / "runs", "--data", data)), str(data), words)
    assert_refused(zoo(*command(tmp_path / "runs", "--data", tmp_path / "short.txt")), "641 at least; got 5")
    assert not (tmp_path / "runs").exists()


def test_a_folder_of_runs_that_is_a_file_is_refused(zoo, command, tmp_path):
    (tmp_path / "runs").write_text("")
    assert_refused(zoo(*command(tmp_path / "runs")), str(tmp_path / "runs"))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (library.UserError("a text"), 2),
        (FileNotFoundError("a text"), 2),
        (PermissionError("a text"), 2),
        (SourceError("a text"), 1),
        (OSError(28, "a text"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_errors_become_exit_codes(error, code, monkeypatch, zoo):
    def fail(arguments):
        raise error

    monkeypatch.setattr(cli, "_dispatch", fail)
    outcome = zoo("models")
    assert outcome.code == code and outcome.err.startswith("zoo: ") and "Traceback" not in outcome.err


def test_a_mistake_of_ours_is_not_hidden(monkeypatch):
    def fail(arguments):
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(cli, "_dispatch", fail)
    with pytest.raises(ZeroDivisionError, match="ours"):
        cli.main(["models"])
