"""Baselines of sequences by hand and by slow loops; the verb scores them as it scores networks."""

import dataclasses
import json
import math

import numpy as np
import pytest
from scipy.special import log_softmax

from zoo.errors import UserError
from zoo_datasets import bouncing_ball
from zoo_datasets.loading.records import ArraySource, Dataset
from zoo_experiments import experiments
from zoo_experiments.verbs import baselining, results
from zoo_experiments.verbs import experiment as module
from zoo_experiments.verbs.baselines import FLOOR, classify
from zoo_experiments.verbs.baselining import fit_experiment, inputs_of
from zoo_experiments.verbs.dtw import distances
from zoo_experiments.verbs.evaluating import value_of
from zoo_experiments.verbs.experiment import Experiment, assemble, setup
from zoo_experiments.verbs.light_curve_features import light_curve_table
from zoo_experiments.verbs.sequence_baselines import (
    OF_LABELS,
    characters_before,
    light_curves,
    neighbours,
    straight_line,
)
from zoo_experiments.verbs.sequences import Sequences
from zoo_experiments.verbs.statistics import summary

VOCABULARY = ("?", *"abc")


def made_of(train, validation, experiment, **more):
    splits = {"train": ArraySource(train), "validation": ArraySource(validation)}
    data = Dataset("toy", splits, more.pop("class_names", None), "", **more)
    return assemble(dataclasses.replace(experiment, data="toy"), data, splits=("train", "validation"))


# Nearest neighbours.

NET = Experiment(model="gru", options=("width=2",), baseline="nearest_neighbour")


def series(count, seed, steps=8):
    """Bumps anywhere, upwards or downwards: Euclid is misled by their places."""
    random = np.random.default_rng(seed)
    label = (np.arange(count) % 2).astype(np.int32)
    middle = random.uniform(2, steps - 3, count)
    bump = np.exp(-0.5 * (np.arange(steps) - middle[:, None]) ** 2) * np.where(label, 1, -1)[:, None]
    values = (bump + 0.05 * random.normal(size=bump.shape))[..., None].astype(np.float32)
    return {"sequence": values, "length": np.full(count, steps, np.int32), "label": label}


def test_neighbours_are_the_nearest_and_as_good_as_certain():
    train, other = series(9, 0), series(7, 1)
    made = made_of(train, other, NET, class_names=("down", "up"), channels={"value": ""})
    found = neighbours(made)
    assert set(found) == {"euclid", "dtw"} and all(set(by_split) == {"validation"} for by_split in found.values())
    apart = {
        "euclid": np.linalg.norm(other["sequence"][:, None] - train["sequence"][None], axis=(2, 3)),
        "dtw": distances(other["sequence"], train["sequence"]),
    }
    for name, by_split in found.items():
        log_p = by_split["validation"]
        np.testing.assert_array_equal(log_p.argmax(1), train["label"][apart[name].argmin(1)])
        np.testing.assert_allclose(np.exp(log_p).sum(1), 1)
        np.testing.assert_allclose(np.exp(log_p).min(1), FLOOR / (1 + FLOOR))


@pytest.mark.parametrize(
    "changes", [{"length": np.full(9, 7, np.int32)}, {"target": np.arange(9, dtype=np.float32)[:, None]}]
)
def test_neighbours_need_one_class_and_one_length(changes):
    truth = {"targets": {"y": ""}} if "target" in changes else {"class_names": ("down", "up")}
    made = made_of({**series(9, 0), **changes}, {**series(9, 1), **changes}, NET, channels={"value": ""}, **truth)
    with pytest.raises(UserError, match=r"nearest_neighbour is for classes of sequences of.*lengths \d … \d of 8"):
        neighbours(made)


# A ball.

BALL = Experiment(model="window", options=("window=2", "widths=(2,)"), baseline="straight_line")


def ball(count, seed, speed=0.11):
    """Balls without drag and noise."""
    random = np.random.default_rng(seed)
    low, high = bouncing_ball.RADIUS, 1 - bouncing_ball.RADIUS
    free = (
        random.uniform(low, high, (count, 1, 2)) + random.uniform(-speed, speed, (count, 1, 2)) * np.arange(9)[:, None]
    )
    places, cells = bouncing_ball.reflected(free)
    hits = np.abs(np.diff(cells, axis=1)).sum(-1)
    arrays = {
        "sequence": places[:, :-1].astype(np.float32),
        "length": np.full(count, 8, np.int32),
        "target": places[:, 1:].astype(np.float32),
    }
    return arrays, hits


def test_straight_on_is_exact_until_a_wall_was_hit_between_the_last_two_places():
    (train, _), (other, hits) = ball(20, 0), ball(30, 1)
    made = made_of(train, other, BALL, targets=bouncing_ball.TARGETS, channels=bouncing_ball.CHANNELS)
    found = straight_line(made)
    assert set(found) == {"staying put", "straight line"}
    units = {name: np.asarray(made.task.predict(by_split["validation"])) for name, by_split in found.items()}
    np.testing.assert_allclose(units["staying put"], other["sequence"], atol=1e-6)  # float32
    line = units["straight line"]
    np.testing.assert_allclose(line[:, 0], other["sequence"][:, 0], atol=1e-6)
    # A wall that is hit now is foreseen, one that was hit since the last place is not.
    wrong = np.abs(line - other["target"]).max(-1) > 1e-5
    before = np.concatenate([np.ones((30, 1)), hits[:, :-1]], axis=1) > 0
    assert not (wrong & ~before).any() and wrong[:, 1:][before[:, 1:]].any() and (hits[:, 1:] & ~before[:, 1:]).any()


def test_a_line_is_for_places_of_a_ball_alone():
    arrays, _ = ball(6, 0)
    made = made_of(arrays, arrays, BALL, targets={"u": "", "v": ""}, channels={"x": "", "y": ""})
    with pytest.raises(UserError, match=r"straight_line is for places.*next_x, next_y; these are sequences \(8, 2\)"):
        straight_line(made)


# Characters.

LANGUAGE = Experiment(model="gru", options=("width=2", "embedding=2"), baseline="characters_before")


def text(count, seed, steps=7):
    random = np.random.default_rng(seed)
    symbols = random.integers(1, 4, (count, steps + 1)).astype(np.int32)
    # An a is always followed by a b.
    symbols[:, 1:] = np.where(symbols[:, :-1] == 1, 2, symbols[:, 1:])
    length = random.integers(1, steps + 1, count).astype(np.int32)
    valid = np.arange(steps) < length[:, None]
    return {
        "sequence": np.where(valid, symbols[:, :-1], 0),
        "label": np.where(valid, symbols[:, 1:], 0),
        "length": length,
    }


def literal(train, record, step, order):
    """Slow twin: Witten and Bell's estimate of every symbol after the last `order` ones, with counts in dicts."""
    p = np.full(len(VOCABULARY), 1 / len(VOCABULARY))
    seen = record["sequence"][: step + 1].tolist()
    for k in range(min(order, len(seen)) + 1):
        context, counts = seen[len(seen) - k :], np.zeros(len(VOCABULARY))
        for symbols, labels, length in zip(train["sequence"], train["label"], train["length"], strict=True):
            for t in range(length):
                if t + 1 >= k and symbols[: t + 1].tolist()[t + 1 - k :] == context:
                    counts[labels[t]] += 1
        kinds = (counts > 0).sum()
        if counts.sum():
            p = (counts + kinds * p) / (counts.sum() + kinds)
    return p


def test_counted_characters_are_those_of_a_slow_loop():
    train, other = text(12, 0), text(6, 1)
    made = made_of(train, other, LANGUAGE, class_names=VOCABULARY, vocabulary=VOCABULARY)
    found = characters_before(made)
    assert list(found) == [f"{order} characters before" for order in range(6)]
    for order, by_split in enumerate(found.values()):
        log_p = by_split["validation"]
        assert log_p.shape == (6, 7, 4) and log_p.dtype == np.float32
        np.testing.assert_allclose(np.exp(log_p).sum(-1), 1, rtol=1e-6)
        for i, record in enumerate(made.data["validation"]):
            for t in range(record["length"]):
                np.testing.assert_allclose(np.exp(log_p[i, t]), literal(train, record, t, order), rtol=1e-5)


def test_witten_and_bell_by_hand():
    """Of "abac" b and c follow a once each, none follows c."""
    train = {"sequence": np.array([[1, 2, 1]]), "label": np.array([[2, 1, 3]]), "length": np.array([3])}
    other = {"sequence": np.array([[1, 3, 2]]), "label": np.array([[2, 1, 2]]), "length": np.array([3])}
    made = made_of(train, other, LANGUAGE, class_names=VOCABULARY, vocabulary=VOCABULARY)
    zero, one = (np.exp(by["validation"][0]) for by in characters_before(made, 1).values())
    # Three symbols, each once, and a quarter for each.
    none = np.array([3 / 4, 7 / 4, 7 / 4, 7 / 4]) / 6
    np.testing.assert_allclose(zero, [none] * 3, rtol=1e-6)
    np.testing.assert_allclose(one[0], (np.array([0, 0, 1, 1]) + 2 * none) / 4, rtol=1e-6)
    np.testing.assert_allclose(one[1], none, rtol=1e-6)
    np.testing.assert_allclose(one[2], (np.array([0, 1, 0, 0]) + none) / 2, rtol=1e-6)


def test_large_vocabularies_have_fewer_orders():
    """Contexts are numbers of 63 bits: of 10,000 symbols four fit."""
    many = tuple(chr(0x4E00 + i) for i in range(10_000))
    arrays = {name: values * 3000 for name, values in text(3, 0).items()} | {"length": text(3, 0)["length"]}
    made = made_of(arrays, arrays, LANGUAGE, class_names=many, vocabulary=many)
    assert len(characters_before(made)) == 5


def test_characters_need_symbols_with_a_class_each():
    made = made_of(series(6, 0), series(6, 1), NET, class_names=("down", "up"), channels={"value": ""})
    with pytest.raises(UserError, match=r"characters_before is for sequences of symbols.*\(8, 1\) with classes of"):
        characters_before(made)


# Light curves.

SUPERNOVAE = dataclasses.replace(experiments()["light_curves"], data="light_curves/tiny")


@pytest.fixture(scope="module")
def raw():
    return setup(dataclasses.replace(SUPERNOVAE, sequences=Sequences()), splits=("train", "validation"))


@pytest.mark.parametrize(
    ("added", "redshift"), [((), None), (("host_photoz",), "host_photoz"), (("redshift", "host_photoz"), "host_photoz")]
)
def test_light_curves_are_measured_in_their_units_with_the_networks_redshift(raw, added, redshift):
    expected, _ = light_curve_table(raw.data["train"].arrays, redshift=redshift)
    np.testing.assert_array_equal(light_curves(raw.data["train"], added), expected)
    np.testing.assert_array_equal(inputs_of(raw, "train", added=added), expected)


def test_the_verb_fits_light_curves_on_features_of_raw_fluxes(raw, tmp_path):
    models = fit_experiment("light_curves", SUPERNOVAE, folder=tmp_path)
    told = json.loads((tmp_path / "baselines.json").read_text())
    assert told["inputs"] == "hand-made features of light curves" and told["models"] == models
    train, other = (light_curves(raw.data[split], ("host_photoz",)) for split in ("train", "validation"))
    labels = raw.data["train"].arrays["label"]
    expected = classify(train, labels, other, num_classes=3, seed=0)
    for model in models:
        rows = summary(expected[model["name"]], raw.data["validation"].arrays["label"], raw.class_names)
        assert model["metrics"] == [{**row, "split": "validation"} for row in rows]


# The verb on sequences in memory.


@pytest.fixture
def toy(monkeypatch):
    """`toy(train, validation, **names)` is what the verb then loads."""

    def place(train, validation, **names):
        splits = {"train": ArraySource(train), "validation": ArraySource(validation)}
        data = Dataset("toy", splits, names.pop("class_names", None), "", **names)
        monkeypatch.setattr(module, "load", lambda *_, **__: data)

    return place


def test_labels_without_probabilities_have_no_scores_of_probabilities(toy, tmp_path):
    toy(series(9, 0), series(40, 1), class_names=("down", "up"), channels={"value": ""})
    models = fit_experiment("toy", NET, folder=tmp_path)
    assert [model["name"] for model in models] == ["euclid", "dtw"]
    for model in models:
        names = {row["name"] for row in model["metrics"]}
        assert names == {"accuracy", "recall down", "recall up", "balanced_accuracy"}
        assert {name.split(" ")[0] for name in names} == set(OF_LABELS)
    # Warping finds bumps wherever they are.
    accuracy = [value_of(model, "accuracy", "validation")["value"] for model in models]
    assert accuracy[1] > 0.9 and accuracy[1] >= accuracy[0]


def test_a_ball_is_scored_step_by_step(toy, tmp_path):
    (train, _), (other, _) = ball(20, 0), ball(30, 1)
    toy(train, other, targets=bouncing_ball.TARGETS, channels=bouncing_ball.CHANNELS)
    models = {model["name"]: model for model in fit_experiment("ball", BALL, folder=tmp_path)}
    stay = value_of(models["staying put"], "rmse", "validation")
    errors = other["sequence"] - other["target"]
    assert stay["value"] == pytest.approx(np.sqrt((errors.astype(float) ** 2).mean((0, 1))).mean(), rel=1e-4)
    assert stay["method"].endswith("of sequences") and stay["count"] == 30
    assert value_of(models["straight line"], "rmse", "validation")["value"] < stay["value"]


def test_bits_of_characters_are_those_of_their_probabilities(toy, tmp_path):
    train, other = text(40, 0), text(30, 1)
    toy(train, other, class_names=VOCABULARY, vocabulary=VOCABULARY)
    models = fit_experiment("text", LANGUAGE, folder=tmp_path)
    made = setup(LANGUAGE)
    for model, by_split in zip(models, characters_before(made).values(), strict=True):
        log_p = log_softmax(by_split["validation"].astype(float), axis=-1)
        there = np.arange(7) < other["length"][:, None]
        nll = -np.take_along_axis(log_p, other["label"][..., None], -1)[..., 0][there].mean()
        assert value_of(model, "bits", "validation")["value"] == pytest.approx(nll / math.log(2), rel=1e-5)
    # That b follows a is known from one character on.
    bits = [value_of(model, "bits", "validation")["value"] for model in models]
    assert bits[1] < bits[0] - 0.2
    folder = tmp_path / "text" / "baseline"
    folder.mkdir(parents=True)
    (tmp_path / "baselines.json").rename(folder / "baselines.json")
    # Fewer bits are better.
    assert results._baseline("text", "bits", tmp_path)["validation"]["value"] == min(bits)


def test_a_field_of_the_records_is_a_baseline_too(toy, tmp_path):
    parts = [{**series(30, seed), "mass": np.arange(30) % 2 + 0.1 * np.arange(30) / 30} for seed in (0, 1)]
    toy(*parts, class_names=("down", "up"), channels={"value": ""})
    models = fit_experiment("toy", dataclasses.replace(NET, baseline="mass"), folder=tmp_path)
    assert value_of(models[0], "accuracy", "validation")["value"] == 1
    assert json.loads((tmp_path / "baselines.json").read_text())["inputs"] == "mass"


@pytest.mark.parametrize(
    ("baseline", "words"),
    [
        ("", "toy has no baseline: set the experiment's `baseline` to the name of a field of radio.*straight_line"),
        ("features", "baseline is 'features', which is not made of sequences; radio_galaxies has the fields sequence,"),
        ("mass", "baseline names the field 'mass'; radio_galaxies has the fields sequence, length, label"),
        ("light_curve_features", r"sequence of a light curve should have the shape \(48, 14\), got \(8, 1\)"),
        ("straight_line", "straight_line is for places x, y of a ball"),
        ("characters_before", "characters_before is for sequences of symbols"),
    ],
)
def test_baselines_that_do_not_fit_are_refused(baseline, words, toy, tmp_path):
    toy(series(9, 0), series(9, 1), class_names=("down", "up"), channels={"value": ""})
    with pytest.raises(UserError, match=words):
        fit_experiment("toy", dataclasses.replace(NET, baseline=baseline), folder=tmp_path)
    assert not (tmp_path / "baselines.json").exists()


def test_baselines_of_a_whole_sequence_say_nothing_of_steps(toy, tmp_path):
    toy(text(9, 0), text(9, 1), class_names=VOCABULARY, vocabulary=VOCABULARY)
    for baseline in ("features", "length", "light_curve_features"):
        with pytest.raises(UserError, match=f"baseline is '{baseline}', of which one prediction a sequence is made"):
            fit_experiment("toy", dataclasses.replace(LANGUAGE, baseline=baseline), folder=tmp_path)


def test_baselines_of_sequences_are_not_for_images(tmp_path):
    for baseline in (*baselining.BASELINES, baselining.LIGHT_CURVES):
        digits = dataclasses.replace(experiments()["digits"], data="digits/tiny", baseline=baseline)
        with pytest.raises(UserError, match=r"not made of images|light curve should have the field sequence"):
            fit_experiment("digits", digits, folder=tmp_path)


def test_the_command_line_says_what_has_no_baseline(zoo, tmp_path):
    outcome = zoo("baseline", "bouncing_ball_video", "--runs", tmp_path)
    assert outcome.code == 2 and "bouncing_ball_video has no baseline" in outcome.err
    assert not any(tmp_path.iterdir())
