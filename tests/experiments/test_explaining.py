"""`zoo explain`: the arrays are the explainers', the names are checked, and the figure is there."""

import jax
import numpy as np
import pytest

from zoo import explain
from zoo_experiments.verbs.experiment import Experiment
from zoo_experiments.verbs.explaining import (
    Explained,
    colours_of,
    default_layer,
    draw,
    layer_names,
    one_per_class,
)
from zoo_experiments.verbs.figures import show_image

METHODS = tuple(explain.methods())


@pytest.fixture(scope="module")
def explained(zoo, trained, tmp_path_factory):
    """Every method for records 1 and 2: the outcome, and the arrays."""
    out = tmp_path_factory.mktemp("explained")
    outcome = zoo(
        "explain", trained.folder, "--method", *METHODS, "--records", "1", "2", "--target", "middle", "--out", out
    )
    assert outcome.code == 0, outcome.err
    return outcome, out, dict(np.load(out / "explanations.npz"))


@pytest.fixture(scope="module")
def network(trained):
    made = trained.setup(splits=("validation",))
    return made, trained.weights(made).state.averaged


def test_the_figure_and_one_array_per_method_are_written(explained):
    outcome, out, arrays = explained
    assert outcome.out.strip() == str(out / "explanations.png")
    assert (out / "explanations.png").read_bytes().startswith(b"\x89PNG")
    names = {"grad_cam_at_stage2" if name == "grad_cam" else name for name in METHODS}
    assert set(arrays) == {"records", "images", *names}
    assert arrays["records"].tolist() == [1, 2] and arrays["images"].shape == (2, 16, 16, 1)
    for name in names:
        assert arrays[name].shape[:3] == (2, 16, 16) and np.isfinite(arrays[name]).all() and np.ptp(arrays[name]) > 0


@pytest.mark.parametrize("name", ["saliency", "gradient_x_input", "occlusion"])
def test_the_arrays_are_those_of_the_explainers(name, explained, network, key):
    made, variables = network
    arrays, images = explained[2], made.data["validation"].arrays["image"][[1, 2]]
    np.testing.assert_array_equal(arrays["images"], images)
    values = explain.methods()[name].function(made.model, variables, images, np.array([1, 1]), key, "stage2", {})
    np.testing.assert_allclose(arrays[name], values, atol=1e-5 * np.abs(values).max())  # float32


def test_integrated_gradients_add_up_to_the_change_of_the_logit(explained, network):
    made, variables = network
    images = explained[2]["images"]
    apply = jax.jit(made.model.apply)
    change = apply(variables, images)[:, 1] - apply(variables, np.zeros_like(images))[:, 1]
    total = explained[2]["integrated_gradients"].sum(axis=(1, 2, 3))
    np.testing.assert_allclose(total, change, atol=0.05 * np.abs(change).max())  # the rule has finitely many steps


def test_a_target_by_number_is_the_class_and_no_target_the_predicted_one(zoo, trained, explained, network, tmp_path):
    made, variables = network
    predicted = np.asarray(jax.jit(made.model.apply)(variables, explained[2]["images"])).argmax(1)
    arrays = {}
    for target in ("1", None):
        more = [] if target is None else ["--target", target]
        argv = ["explain", trained.folder, "--method", "saliency", "--records", "1", "2", "--out", tmp_path, *more]
        assert zoo(*argv).code == 0
        arrays[target] = dict(np.load(tmp_path / "explanations.npz"))["saliency"]
    np.testing.assert_array_equal(arrays["1"], explained[2]["saliency"])
    for record in (0, 1):
        same = np.array_equal(arrays[None][record], arrays["1"][record])
        assert same == (predicted[record] == 1)


def test_without_records_one_of_median_probability_of_each_class_is_taken(zoo, copied):
    assert zoo("explain", copied.folder, "--method", "grad_cam", "--layer", "stage1", "--split", "test").code == 0
    with np.load(copied.file("explanations") / "explanations.npz") as arrays:
        assert set(arrays) == {"records", "images", "grad_cam_at_stage1"}
        labels = copied.setup(splits=("test",)).data["test"].arrays["label"]
        assert labels[arrays["records"]].tolist() == [0, 1, 2]


def test_median_examples_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5], [0.6, 0.4], [0.3, 0.7]])
    # Class 0 has the records 0, 2, 3 with 0.9, 0.5, 0.6; class 1 has 1 and 4 with 0.8 and 0.7, the upper median is 1.
    assert one_per_class(probabilities, np.array([0, 1, 0, 0, 1])) == [3, 1]
    assert one_per_class(probabilities[:1], np.array([0])) == [0]


def test_layers_are_found(network):
    made, _ = network
    assert default_layer(made) == "stage2"
    assert {"stage1", "stage2", "head"} <= set(layer_names(made))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--method", "salency"], ("'salency'", "'saliency'")),
        (["--method", "grad_cam", "--layer", "stge1"], ("'stge1'", "'stage1'")),
        (["--method", "grad_cam", "--layer", "head"], ("'head'", "no spatial axes", "'stage2'")),
        (["--method"], ("at least one method", "saliency")),
        (["--target", "midle"], ("'midle'", "'middle'")),
        (["--target", "3"], ("'3'", "large, middle, small")),
        (["--records", "30"], ("0 to 29", "[30]")),
        (["--records", "-1"], ("0 to 29", "[-1]")),
        (["--split", "tset"], ("tset", "validation")),
    ],
)
def test_unknown_names_are_refused_with_the_closest(more, words, zoo, trained, tmp_path):
    outcome = zoo("explain", trained.folder, *more, "--out", tmp_path / "none")
    assert outcome.code == 2 and all(word in outcome.err for word in words), outcome.err
    assert not (tmp_path / "none").exists()


def test_a_model_without_spatial_layers_is_reported_and_explained_without_grad_cam(zoo, tiny, tmp_path):
    outcome = zoo(
        *("train", "digits", "--data", tiny, "--model", "mlp", "--options", "widths=(8,)", "dropout=0.0"),
        *("--images.size", "0", "--augmentation.rotate", "0", "--epochs", "1", "--layer", "", "--runs", tmp_path),
        *("--name", "pixels"),
    )
    assert outcome.code == 0, outcome.err
    run = tmp_path / "digits" / "pixels"
    assert "grad cam" not in (run / "report.html").read_text()
    assert zoo("explain", run, "--records", "1").code == 0
    arrays = np.load(run / "explanations" / "explanations.npz")
    assert set(arrays) == {"records", "images", "integrated_gradients", "occlusion"}
    refused = zoo("explain", run, "--records", "1", "--method", "grad_cam")
    assert refused.code == 2 and "mlp has no layer with spatial axes, which Grad-CAM needs" in refused.err


def test_bands_are_drawn_in_the_colours_that_the_data_names():
    images = np.random.default_rng(0).random((1, 4, 4, 5))
    maps = {"occlusion": np.ones((1, 4, 4))}
    figure = draw(Explained(np.array([0]), images, ["one"], maps, {}), colours=(3, 2, 1))
    drawn = [np.asarray(picture.get_array()) for axes in figure.axes for picture in axes.images]
    expected = show_image(images[0][..., [3, 2, 1]])[0]
    assert any(picture.shape == (4, 4, 3) and np.allclose(picture, expected) for picture in drawn)
    assert colours_of(Experiment(data="photoz")) == (3, 2, 1) and colours_of(Experiment(data="radio_galaxies")) == ()
