"""Truth about pixels, from training to report, through the command line on tiny data sets of every kind."""

import dataclasses
import json
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from zoo import train
from zoo.errors import UserError
from zoo_datasets.loading.catalogue import load
from zoo_datasets.loading.records import ArraySource, Dataset
from zoo_experiments import experiments
from zoo_experiments.verbs.baselining import fit_experiment
from zoo_experiments.verbs.evaluating import value_of
from zoo_experiments.verbs.experiment import Experiment, assemble, d4_unview, d4_views, require_truth
from zoo_experiments.verbs.images import Images
from zoo_experiments.verbs.outputs import Outputs, outputs_from_json, outputs_of
from zoo_experiments.verbs.pixel_scores import (
    completeness_of,
    floor_numbers,
    floor_sums,
    has_floor,
    object_numbers,
    object_sums,
    over_floor_of,
)
from zoo_experiments.verbs.pixels import Meter, by_image, each, flat, merged, rows_of
from zoo_experiments.verbs.runs import open_run
from zoo_experiments.verbs.statistics import mean_row

SETTINGS = (
    *("--options", "widths=(4, 6)", "depth=1", "--epochs", "2", "--batch-size", "8", "--evaluations", "1"),
    *("--optimisation.learning-rate", "0.01", "--optimisation.ema", "0"),
)
# Experiment → its tiny data, metrics that it must have, and figures.
KINDS = {
    "ccd_tracks": (
        {"dice", "dice_by_image", "dice track", "iou", "average_precision track", "boundary_f1", "accuracy", "nll"},
        {"examples", "worst", "precision_recall", "reliability"},
    ),
    "stellar_maps": (
        {"r2", "rmse", "rmse log_age", "coverage_68", "z_squared metallicity", "error_over_floor log_age"},
        {"examples", "examples_2", "worst_1", "standardised", "against_seeing", "floor"},
    ),
    "baryons": ({"r2", "ratio_error", "correlation_min"}, {"examples", "worst", "spectra", "against_heated"}),
    "blends_masks": (
        {"dice", "dice central", "iou companion", "boundary_f1"},
        {"examples", "worst", "precision_recall", "against_separation"},
    ),
    "blends_both": (
        {"dice", "dice central", "r2 log_flux_central", "rmse log_flux_companion"},
        {"examples", "numbers"},
    ),
    "tracks3d": ({"dice track", "dice shower"}, {"examples", "worst", "reliability"}),
}


@pytest.fixture(scope="module")
def trained_pixels(zoo, tmp_path_factory):
    """`trained_pixels(experiment)` → a tiny run of it and what the command line said; trained once."""
    found = {}

    def build(name):
        if name not in found:
            runs = tmp_path_factory.mktemp("runs")
            data = {"blends_masks": "blends", "blends_both": "blends"}.get(name, name)
            outcome = zoo("train", name, "--data", f"{data}/tiny", *SETTINGS, "--runs", runs)
            assert outcome.code == 0, outcome.err
            found[name] = open_run(name, root=str(runs)), outcome
        return found[name]

    return build


# Long, and most of what they do is done by the others too.
LONG = ("baryons", "tracks3d", "blends_masks")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in LONG else name for name in KINDS]
)
def test_every_kind_is_trained_scored_and_reported(name, trained_pixels):
    run, outcome = trained_pixels(name)
    metrics, drawn = KINDS[name]
    results = run.read("results.json")
    names = [row["name"] for row in results["metrics"]]
    assert metrics <= set(names) and len(names) == len(set(names))
    for row in results["metrics"]:
        low, high = row["interval"]
        assert low <= high and np.isfinite(row["value"]), row
    assert f"validation {run.outputs.score}: " in outcome.out or name == "blends_both"
    assert {path.stem for path in run.file("figures").iterdir()} >= {"learning_curves", *drawn}
    page = " ".join(run.file("report.html").read_text().split())
    assert "Worst examples" in page and "Where the network looks" not in page
    assert outputs_from_json(json.loads(run.file("config.json").read_text())["data"]) == run.outputs


def test_predictions_of_a_split_are_those_of_the_network(trained_pixels):
    run, _ = trained_pixels("ccd_tracks")
    made = run.setup(splits=("validation",))
    source = made.data["validation"]
    raw, sums = made.evaluation()(run.weights(made).state.averaged, source)
    with np.load(run.file("predictions_validation.npz")) as file:
        np.testing.assert_allclose(file["prediction"], made.task.predict(raw), atol=1e-6)
        predicted = file["prediction"].argmax(-1)
    both = np.sum((predicted == 1) & (source.arrays["label"] == 1))
    dice = 2 * both / (np.sum(predicted == 1) + np.sum(source.arrays["label"] == 1))
    assert value_of(run.read("results.json"), "dice", "validation")["value"] == pytest.approx(dice)
    assert train.finalise(made.task, sums)["dice"] == pytest.approx(dice)


def test_other_verbs_take_pixels(zoo, trained_pixels, tmp_path):
    run, _ = trained_pixels("ccd_tracks")
    outcome = zoo("evaluate", run.folder, "--split", "test")
    assert outcome.code == 0 and "test dice track: " in outcome.out
    outcome = zoo("explain", run.folder, "--out", tmp_path)
    assert outcome.code == 2 and "every pixel" in outcome.err
    source = load("ccd_tracks/tiny").splits["test"]
    np.savez(tmp_path / "mine.npz", x=np.stack([source[i]["image"] for i in range(3)]))
    assert "--out PATH.npz" in zoo("predict", run.folder, "--data", tmp_path / "mine.npz").err
    outcome = zoo("predict", run.folder, "--data", tmp_path / "mine.npz", "--out", tmp_path / "out.npz")
    assert outcome.code == 0 and " of the pixels" in outcome.out
    with np.load(tmp_path / "out.npz") as file:
        assert file["prediction"].shape == (3, 64, 64, 2)


@pytest.mark.parametrize(("name", "score"), [("ccd_tracks", "average_precision"), ("baryons", "r2")])
def test_baselines_judge_pixels(name, score, tmp_path):
    experiment = dataclasses.replace(experiments()[name], data=f"{name}/tiny")
    models = fit_experiment(name, experiment, folder=tmp_path)
    assert json.loads((tmp_path / "baselines.json").read_text())["inputs"] == "features of pixels" and len(models) == 2
    values = [value_of(model, score, "validation")["value"] for model in models]
    # Far above what chance would reach: 0.3 % of the pixels are tracks.
    assert max(values) > {"average_precision": 0.02, "r2": 0.3}[score]


def test_views_of_maps_are_turned_back():
    images = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 5, 3)))
    np.testing.assert_array_equal(d4_unview(d4_views(images)), np.broadcast_to(images, (8, *images.shape)))


def test_sums_image_by_image_make_the_number_and_its_interval():
    rng = np.random.default_rng(0)
    values = rng.normal(3, 1, (40, 5)).astype(np.float32)
    meter = Meter(
        lambda outputs, batch: {"sum": (outputs * batch["mask"][:, None]).sum(), "count": batch["mask"].sum() * 5},
        lambda sums: {"mean": float(sums["sum"] / sums["count"]), "of": {"all": 1.0}, "list": [1], "none": None},
    )
    sums = by_image(meter, values, {"mask": np.ones(40, np.float32)})
    np.testing.assert_allclose(sums["sum"], values.sum(1), rtol=1e-5)
    np.testing.assert_allclose(merged(sums, np.ones(40))["sum"], values.sum(), rtol=1e-5)
    np.testing.assert_allclose(each(sums, meter.report, "mean"), values.mean(1), rtol=1e-5)
    rows = {row["name"]: row for row in rows_of(sums, meter.report)}
    assert set(rows) == {"mean", "of all"}
    low, high = rows["mean"]["interval"]
    # The standard error of the mean over images, within the noise of 500 resamples.
    half = 1.96 * values.mean(1).std() / np.sqrt(40)
    assert (high - low) / 2 == pytest.approx(half, rel=0.15) and low < values.mean() < high
    assert flat({"a": np.float32(1), "b": True, "c": np.nan, "d": {"e": 2}}) == {"a": 1.0, "d e": 2.0}


def test_what_pixels_mean_follows_from_the_data():
    image = np.zeros((8, 8, 1), np.float32)

    def toy(record, **more):
        return Dataset("toy", {"train": [{"image": image, **record}]}, more.pop("class_names", None), "", **more)

    dense = outputs_of(toy({"label": np.zeros((8, 8), np.uint8)}, class_names=("sky", "star")))
    assert (dense.kind, dense.truth, dense.score, dense.channels) == ("segmentation", "label", "dice", 2)
    maps = outputs_of(toy({"target": np.zeros((8, 8, 3))}, targets={"a": "", "b": "", "c": ""}), spread=True)
    assert (maps.kind, maps.truth, maps.score, maps.channels) == ("maps", "target", "r2", 6)
    several = toy(
        {"masks": np.zeros((8, 8, 2)), "target": np.zeros(3)}, masks=("x", "y"), targets={"a": "", "b": "", "c": ""}
    )
    assert [outputs_of(several, learn=what).kind for what in ("", "masks", "target", "both")] == [
        "masks", "masks", "regression", "both",
    ]  # fmt: skip
    masks, numbers = outputs_of(several, learn="both").parts
    assert (masks.kind, numbers.kind) == ("masks", "regression")
    for outputs in (dense, maps, outputs_of(several, learn="both")):
        assert outputs_from_json(json.loads(json.dumps(outputs.as_json()))) == outputs
    with pytest.raises(UserError, match="learn names 'label'; toy has masks, target, both"):
        outputs_of(several, learn="label")
    with pytest.raises(UserError, match="spread is predicted for numbers of pixels or nodes; toy has segmentation"):
        outputs_of(toy({"label": np.zeros((8, 8))}, class_names=("sky", "star")), spread=True)


IMAGES = np.zeros((3, 8, 8, 1), np.float32)


@pytest.mark.parametrize(
    ("outputs", "arrays", "message"),
    [
        (
            Outputs(("sky", "star"), dense=True),
            {"label": np.zeros((3, 8, 9), np.uint8)},
            r"label should have a value for each pixel of the images \(8, 8\), got \(8, 9\)",
        ),
        (
            Outputs(masks=("a", "b"), dense=True),
            {"masks": np.zeros((3, 8, 8, 3))},
            r"masks should have the shape \(8, 8, 2\), got \(8, 8, 3\)",
        ),
        (
            Outputs(masks=("a", "b"), dense=True),
            {"masks": np.full((3, 8, 8, 2), 255)},
            "record 0: masks should be 0 or 1, got 255",
        ),
        (
            Outputs(("sky", "star"), dense=True),
            {"label": np.zeros((3, 8, 8), np.uint8), "valid": np.ones((3, 4, 4))},
            r"valid should have a value for each pixel .* got \(4, 4\)",
        ),
    ],
)
def test_truth_that_does_not_belong_to_the_pixels_is_refused(outputs, arrays, message):
    with pytest.raises(UserError, match=f"toy, train.*{message}"):
        require_truth("toy, train", {"image": IMAGES, **arrays}, outputs)


def dataset(label, image=None):
    source = ArraySource({"image": IMAGES if image is None else image, "label": label})
    return Dataset("toy", {"train": source, "validation": source}, ("sky", "star"), "")


SMALL = Experiment(model="unet", options=("widths=(2, 3)", "depth=1"), images=Images(size=0), batch_size=2)


def made(experiment, data):
    return assemble(experiment, data, splits=("train", "validation"))


def test_labels_outside_of_the_classes_are_refused():
    with pytest.raises(ValueError, match=r"record 1: label should be in 0 … 1, got 2"):
        made(SMALL, dataset(np.array([0, 2, 1], np.uint8)[:, None, None] * np.ones((3, 8, 8), np.uint8)))


def test_images_without_any_object_have_numbers():
    setup = made(SMALL, dataset(np.zeros((3, 8, 8), np.uint8)))
    numbers = setup.evaluation().numbers(setup.state().variables)
    assert all(np.isfinite(numbers[name]) for name in ("loss", "accuracy", "dice", "iou", "average_precision"))


def test_nan_pixels_are_refused_or_masked():
    image = IMAGES.copy()
    image[1, 2, 3] = np.nan
    labels = np.random.default_rng(0).integers(0, 2, (3, 8, 8)).astype(np.uint8)
    with pytest.raises(ValueError, match=r"record 1: field 'image' should be finite.*Mask or replace"):
        made(SMALL, dataset(labels, image))
    masked = Experiment(**{**vars(SMALL), "images": Images(size=0, nan="mask")})
    setup = made(masked, dataset(labels, image))
    assert setup.data["train"].arrays["valid"].sum() == 3 * 64 - 1
    _, sums = setup.evaluation()(setup.state().variables, setup.data["train"])
    assert train.finalise(setup.task, sums)["count"] == 3 * 64 - 1


def test_models_of_the_other_kind_are_refused():
    with pytest.raises(
        UserError, match=r"every pixel, for which convnet should give \(1, 8, 8, 2\); it gives \(1, 2\)"
    ):
        made(Experiment(model="convnet", images=Images(size=0)), dataset(np.zeros((3, 8, 8), np.uint8)))
    with pytest.raises(UserError, match=r"the whole image, for which unet should give \(1, 2\)"):
        made(SMALL, dataset(np.array([0, 1, 1], np.int32)))
    with pytest.raises(UserError, match=r"optimisation\.loss is 'focal', which is for classes and masks of pixels"):
        focal = type(SMALL.optimisation)(loss="focal")
        made(
            Experiment(**{**vars(SMALL), "model": "mlp", "options": (), "optimisation": focal}),
            dataset(np.array([0, 1, 1])),
        )


def test_sources_are_complete_where_most_of_their_pixels_have_their_class():
    objects = np.zeros((2, 6, 6), np.int32)
    objects[:, :2, :2], objects[:, 4:, 4:] = 1, 2
    kinds = np.array([[1, 2, -1], [1, 2, 1]])
    classes = np.zeros((2, 6, 6), int)
    classes[0, :2, :2] = 1  # right
    classes[0, 4:, 4:] = 1  # of the other class
    classes[1, 0, :2] = 1  # one half is not most
    classes[1, 4:, 4:] = 2
    source = ArraySource({"objects": objects, "kinds": kinds, "magnitudes": np.array([[20.0, 20, 0], [24, 24, 24]])})
    raw = np.eye(3)[classes]
    places, lines = completeness_of(raw, source, ("sky", "star", "galaxy"))
    assert len(places) == len(lines["star"][0]) and set(lines) == {"star", "galaxy"}
    # Of two faint stars one is half right and one has no pixel.
    assert (lines["star"][0][0], lines["star"][0][-1]) == (100, 0)
    assert (lines["galaxy"][0][0], lines["galaxy"][0][-1]) == (0, 100)
    assert completeness_of(raw, ArraySource({"objects": objects}), ("sky", "star", "galaxy")) is None


def test_objects_are_found_missed_and_invented():
    objects = np.zeros((1, 8, 8), np.int32)
    objects[0, :3, :3], objects[0, 5:, 5:] = 1, 2
    classes = np.zeros((1, 8, 8), int)
    classes[0, :3, :3] = 1  # found
    classes[0, 0:3, 6:8] = 1  # invented
    classes[0, 4, 0] = 1  # too small to be one
    sums = object_sums(np.eye(2)[classes], ArraySource({"objects": objects}))
    assert object_numbers(merged(sums, np.ones(1))) == {
        "object_completeness": 0.5, "object_purity": 0.5, "object_average_precision": pytest.approx(1 / 3),
    }  # fmt: skip


def test_errors_beside_their_floor_by_hand():
    """Two images of two pixels, one of which does not count: errors 3 and 4, floors 1 and 2; then 0 and floor 2."""
    source = ArraySource(
        {
            "target": np.zeros((2, 1, 2, 1)),
            "floor": np.array([[[[1.0], [2.0]]], [[[2.0], [9.0]]]]),
            "valid": np.array([[[1, 1]], [[1, 0]]]),
        }
    )
    made = SimpleNamespace(
        outputs=SimpleNamespace(kind="maps", names=("mass",), scale=(2.0,)),
        task=SimpleNamespace(predict=lambda raw: raw),
    )
    raw = np.array([[[[3.0], [4.0]]], [[[0.0], [np.nan]]]])
    assert has_floor(made, source)
    sums = floor_sums(made, raw, source)
    np.testing.assert_allclose(sums["error"], [[25], [0]])
    np.testing.assert_allclose(sums["floor"], [[5], [4]])
    told = floor_numbers({name: values.sum(0) for name, values in sums.items()}, ("mass",))
    assert told["error_over_floor_of"]["mass"] == pytest.approx(5 / 3)
    floor, error = over_floor_of(made, raw, source, groups=3)["mass"]
    np.testing.assert_allclose(floor, [0.5, 1, 1])
    np.testing.assert_allclose(np.sort(error), [0, 1.5, 2])


def test_a_mean_leaves_out_what_has_no_value():
    row = mean_row("dice_by_image", np.array([0.5, np.nan, 1.0]), what="images")
    assert row["value"] == pytest.approx(0.75)
    assert row["count"] == 2
    assert row["interval"] == [0.5, 1.0]
    assert mean_row("dice_by_image", np.array([np.nan]))["count"] == 0
