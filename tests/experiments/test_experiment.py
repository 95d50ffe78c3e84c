"""An experiment is a value: it survives its file, refuses what it cannot mean, and fits its data or says why not."""

import dataclasses
import json
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import zoo
from zoo.augment import Augmentation
from zoo.errors import UnknownName, UserError
from zoo.models.on_padded import OnPadded
from zoo_datasets.loading import catalogue
from zoo_datasets.loading.records import ArraySource, DataError, Dataset
from zoo_experiments import experiments
from zoo_experiments.verbs.experiment import (
    Experiment,
    Optimisation,
    as_json,
    assemble,
    differences,
    from_json,
)
from zoo_experiments.verbs.fields import example_of
from zoo_experiments.verbs.images import Images
from zoo_experiments.verbs.networks import build_model, least_points, model_options
from zoo_experiments.verbs.views import d4_views

pytestmark = pytest.mark.smoke
SMALL = Experiment(model="convnet", options=("widths=(4, 8)", "depths=(1, 1)"), images=Images(size=0), batch_size=4)
SHARE = st.floats(0, 1, exclude_max=True)
EXPERIMENTS = st.builds(
    Experiment,
    title=st.text(max_size=5),
    options=st.lists(st.text(max_size=5), max_size=3).map(tuple),
    images=st.builds(Images, crop=st.lists(st.integers(0, 99), min_size=1, max_size=3).map(tuple)),
    augmentation=st.builds(
        Augmentation, crop=st.sampled_from([None, (3, 4)]), exposure=st.sampled_from([None, (0.5, 2.0)]), shift=SHARE
    ),
    optimisation=st.builds(Optimisation, warmup=SHARE, ema=SHARE, clip=SHARE),
    epochs=st.integers(1, 99),
    seed=st.integers(0, 2**32 - 1),
)


def dataset(*, count=12, channels=1, side=8, splits=("train", "validation"), labels=None, names=("a", "b", "c")):
    rng = np.random.default_rng(0)
    labels = np.arange(count, dtype=np.int32) % 3 if labels is None else np.asarray(labels, np.int32)
    fields = {"image": rng.random((count, side, side, channels)).astype(np.float32), "label": labels}
    return Dataset("toy", {split: ArraySource(fields) for split in splits}, names, "")


@given(EXPERIMENTS)
def test_an_experiment_survives_json(experiment):
    assert from_json(json.loads(json.dumps(as_json(experiment)))) == experiment


@pytest.mark.parametrize("name", experiments())
def test_every_registered_experiment_survives_json_and_builds_its_model(name):
    experiment = experiments()[name]
    assert from_json(json.loads(json.dumps(as_json(experiment)))) == experiment
    assert catalogue.is_known(experiment.data_name)
    channels, card = len(experiment.images.crop), zoo.card(experiment.model)
    if card.kind == "array":
        model = build_model(experiment, num_classes=2, channels=channels)
        sizes = (experiment.images.size or 32,) * (len(card.example) - 2)
        said, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), jnp.zeros((1, *sizes, channels)))
        assert said.shape == (1, *(sizes if card.outputs == "pixels" else ()), 2)
        return
    field = {"graph": "graph", "points": "points"}[card.kind]
    model = build_model(experiment, num_classes=2, channels=5, field=field)
    model = OnPadded(model) if field == "graph" else model
    example = example_of(field, (5, 3, 0) if field == "graph" else (5,), least=least_points(experiment))
    said, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), example)
    assert said.shape == (1, 2)


def test_the_seed_chooses_the_fold():
    experiment = dataclasses.replace(SMALL, data="tudataset/mutag_fold{seed}", seed=7)
    assert experiment.data_name == "tudataset/mutag_fold7" and SMALL.data_name == SMALL.data


def test_model_options_are_literals_or_text():
    pairs = ["widths=(32, 64)", "pool=avg", "dropout=0.2", " fold = 2 ", "flag=True", "text='a=b'", "none=None"]
    assert model_options(pairs) == {
        "widths": (32, 64), "pool": "avg", "dropout": 0.2, "fold": 2, "flag": True, "text": "a=b", "none": None
    }  # fmt: skip


def test_a_model_option_without_a_value_is_refused():
    with pytest.raises(UserError, match=r"NAME=VALUE.*got 'dropout'"):
        model_options(["dropout"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("widht=3",), ("widht", "widths")),
        (("widths=3",), ("widths", "(32, 64, 128, 256)", "3")),
        (("widths=(4, 'a')",), ("widths", "'a'")),
        (("kernel=big",), ("kernel", "3", "'big'")),
        (("kernel=True",), ("kernel", "True")),
        (("dropout=x",), ("dropout", "0.0", "'x'")),
        (("num_classes=7",), ("num_classes", "the data")),
        (("in_channels=2",), ("in_channels", "the images")),
        (("dtype=bfloat16",), ("dtype", "--dtype")),
    ],
)
def test_model_options_that_cannot_be_meant_are_refused(options, words):
    with pytest.raises(UserError) as caught:
        build_model(dataclasses.replace(SMALL, options=options), num_classes=3, channels=1)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_whole_numbers_are_good_for_real_options():
    assert build_model(dataclasses.replace(SMALL, options=("dropout=0",)), num_classes=3, channels=1).dropout == 0


BAD = [
    (Experiment, "epochs", (0, -1)),
    (Experiment, "batch_size", (0, -8)),
    (Experiment, "evaluations", (0,)),
    (Experiment, "seed", (-1, 2**32)),
    (Optimisation, "learning_rate", (0.0, -1.0, math.nan, math.inf)),
    (Optimisation, "warmup", (-0.1, 1.0, math.nan)),
    (Optimisation, "momentum", (-0.1, 1.0)),
    (Optimisation, "ema", (-1.0, 1.0, math.nan)),
    (Optimisation, "label_smoothing", (-0.1, 1.0)),
    (Optimisation, "weight_decay", (-1.0, math.nan, math.inf)),
    (Optimisation, "clip", (-1.0, math.nan)),
    (Optimisation, "accumulate", (0,)),
]


@pytest.mark.parametrize(("kind", "name", "value"), [(kind, name, v) for kind, name, vs in BAD for v in vs])
def test_settings_out_of_range_are_refused_at_once(kind, name, value):
    with pytest.raises(UserError, match=name) as caught:
        kind(**{name: value})
    assert f"got {value!r}" in str(caught.value)


def test_a_batch_must_divide_into_the_accumulated_parts():
    with pytest.raises(UserError, match=r"multiple of optimisation\.accumulate, 3, got 8"):
        Experiment(batch_size=8, optimisation=Optimisation(accumulate=3))


def test_differences_name_the_entries_and_both_values():
    left = {"a": 1, "b": {"c": [1, 2], "d": 3}, "same": {"x": 1}, "gone": 0}
    right = {"a": 1, "b": {"c": [1, 3], "d": 3}, "same": {"x": 1}, "new": "y"}
    assert differences(left, right) == ["b.c: [1, 2] → [1, 3]", "gone: 0 → None", "new: None → 'y'"]
    assert differences(left, left) == []


def test_the_views_are_the_eight_images_of_the_square_identity_first():
    images = np.random.default_rng(0).random((2, 5, 5, 3)).astype(np.float32)
    views = np.asarray(d4_views(jnp.asarray(images)))
    assert views.shape == (8, 2, 5, 5, 3)
    np.testing.assert_array_equal(views[0], images)
    expected = [np.rot90(image, k, (1, 2)) for image in (images, images[:, :, ::-1]) for k in range(4)]
    for one in expected:
        assert sum(np.array_equal(one, view) for view in views) == 1


def test_assembled_data_is_preprocessed_and_steps_are_counted():
    made = assemble(
        dataclasses.replace(SMALL, images=Images(size=4), epochs=3, batch_size=5), dataset(), splits=("train",)
    )
    assert made.shape == (4, 4, 1) and made.class_names == ("a", "b", "c")
    assert made.steps == 8  # ⌈3 · 12 / 5⌉
    assert set(made.data) == {"train"}
    assert sum(1 for _ in made.batches()) == made.steps


def test_balanced_weights_count_classes_of_the_training_data():
    how = Optimisation(class_weights="balanced")
    data = dataset(labels=[0] * 6 + [1] * 4 + [2] * 2)
    made = assemble(dataclasses.replace(SMALL, optimisation=how), data, splits=("train",))
    _, weights = made.task.loss(jnp.zeros((3, 3)), {"label": jnp.array([0, 1, 2])})
    np.testing.assert_allclose(weights, [12 / 18, 12 / 12, 12 / 6], rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "data", "error", "words"),
    [
        ({}, dataset(names=None), UserError, ("toy", "no labels")),
        ({}, dataset(splits=("train",)), UserError, ("'validation'", "train")),
        ({}, dataset(labels=[0, 1, 2, 5] * 3), DataError, ("record 3", "0 … 2", "got 5")),
        ({"optimisation": Optimisation(class_weights="balanced")}, dataset(labels=[0, 1] * 6), UserError, ("['c']",)),
        ({"model": "convnett"}, dataset(), UnknownName, ("'convnett'", "'convnet'")),
        ({"optimisation": Optimisation(optimiser="adamv")}, dataset(), UnknownName, ("'adamv'", "'adamw'")),
        ({"options": ("dropout=2",)}, dataset(), UserError, ("dropout=2", "[0, 1)", "got 2")),
        ({"options": ("widths=(4,)",)}, dataset(), UserError, ("(4,)", "(1, 1, 1, 1)")),
        ({"options": ("widths=(4, -8)", "depths=(1, 1)")}, dataset(), UserError, ("widths=(4, -8)",)),
        ({"options": ("fold=3",)}, dataset(), UserError, ("fold=3", "(8, 8)")),
        ({}, dataset(side=1), UserError, ("at least 2 pixels", "got (1, 1)")),
        ({"augmentation": Augmentation(crop=(40, 40))}, dataset(), UserError, ("(40, 40)", "(8, 8)")),
        ({"augmentation": Augmentation(crop=(1, 1))}, dataset(), UserError, ("at least 2", "got (1, 1)")),
    ],
)
def test_an_experiment_that_does_not_fit_its_data_says_why(changes, data, error, words):
    with pytest.raises(error) as caught:
        assemble(dataclasses.replace(SMALL, **changes), data, splits=("train", "validation"))
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_views_need_square_images():
    fields = {"image": np.zeros((6, 8, 10, 1), np.float32), "label": np.arange(6, dtype=np.int32) % 3}
    oblong = Dataset("oblong", {"train": ArraySource(fields)}, ("a", "b", "c"), "")
    assemble(SMALL, oblong, splits=("train",))
    with pytest.raises(UserError, match=r"d4.*\(8, 10, 1\)"):
        assemble(dataclasses.replace(SMALL, views="d4"), oblong, splits=("train",))


def test_splits_of_other_shapes_are_refused():
    parts = {"train": dataset(side=8).splits["train"], "validation": dataset(side=9).splits["train"]}
    with pytest.raises(UserError, match=r"different shapes.*\(8, 8, 1\).*\(9, 9, 1\)"):
        assemble(SMALL, Dataset("toy", parts, ("a", "b", "c"), ""), splits=parts)


@pytest.mark.parametrize("views", ["one", "d4"])
def test_evaluation_visits_every_record_once_and_averages_the_views(views, key):
    made = assemble(dataclasses.replace(SMALL, views=views), dataset(count=11), splits=("train",))
    variables, source = made.model.init(key, made.example), made.data["train"]
    outputs, sums = made.evaluation()(variables, source, batch_size=4)
    images = source.arrays["image"]
    stack = d4_views(jnp.asarray(images)) if views == "d4" else images[None]
    apply = jax.jit(made.model.apply)
    expected = np.mean([apply(variables, view) for view in stack], axis=0)
    np.testing.assert_allclose(outputs, expected, atol=1e-5)  # float32, other batch sizes
    assert np.sum(sums["confusion"]) == 11


def test_computation_in_bfloat16_keeps_float32_weights(key):
    model = build_model(dataclasses.replace(SMALL, dtype="bfloat16"), num_classes=3, channels=1)
    assert isinstance(model, nn.Module)
    outputs, variables = model.init_with_output(key, jnp.zeros((1, 8, 8, 1)))
    assert outputs.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    ("model", "field", "words"),
    [
        ("gcn", "image", "gcn takes graphs; the data are images"),
        ("particlenet", "sequence", "particlenet takes sets of points; the data are sequences"),
        ("convnet", "graph", "convnet takes images or sequences; the data are graphs"),
        ("gin", "points", "gin takes graphs; the data are sets of points"),
    ],
)
def test_a_model_for_other_data_is_refused(model, field, words):
    with pytest.raises(UserError, match=words):
        build_model(dataclasses.replace(SMALL, model=model, options=()), num_classes=2, channels=1, field=field)
