"""Angles: the figure, the noise, what the matched filter reaches, and that nothing trivial gives the class away."""

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from zoo_datasets import angles, simulation


@pytest.fixture(scope="module")
def records():
    records = [angles.simulate(simulation.generator("angles", "default", "train", n), n) for n in range(600)]
    return {field: np.stack([record[field] for record in records]) for field in records[0]}


def scores(images, kernel):
    """Largest response of the kernel at any position, (N,)."""
    windows = sliding_window_view(images[..., 0].astype(np.float64), kernel.shape, axis=(1, 2))
    return np.einsum("nijkl,kl->nij", windows, kernel, optimize=True).max((1, 2))


def test_figure_is_two_strokes_that_meet():
    figure = angles.figure()
    assert figure.shape == (11, 11) and figure.sum() == 21
    assert figure[10].all() and np.fliplr(figure).diagonal().all()


def test_figure_is_no_rotation_of_its_mirror_image():
    mirrored = np.fliplr(angles.figure())
    assert all((np.rot90(angles.figure(), turns) != mirrored).any() for turns in range(4))


def test_figure_is_where_the_properties_say(records):
    assert {0.0, 21.0} <= set(records["row"]) and {0.0, 21.0} <= set(records["column"])
    for number in range(600):
        row, column = int(records["row"][number]), int(records["column"][number])
        image = records["image"][number, ..., 0].copy()
        figure = angles.figure() if records["label"][number] else np.fliplr(angles.figure())
        image[row : row + 11, column : column + 11] -= figure
        # What is left is noise: the standard deviation of 1,024 pixels has a relative error of 2.2 %, its mean of
        # NOISE / 32; five of each among 600 images.
        assert image.std() == pytest.approx(angles.NOISE, rel=0.11)
        assert abs(image.mean()) < 5 * angles.NOISE / 32


def test_matched_filter_is_right_in_about_98_of_100(records):
    """The best threshold of the hand-made filter's maximum; 600 images, binomial standard deviation 0.6 %."""
    found = scores(records["image"], angles.figure())
    best = max(np.mean((found > threshold) == records["label"]) for threshold in found)
    assert 0.965 < best < 0.998


def area(values, labels):
    """Area under the ROC curve: the chance that a value of class 1 is larger than one of class 0."""
    ones, zeros = values[labels == 1], values[labels == 0]
    return np.mean(np.sign(ones[:, None] - zeros) / 2 + 0.5)


def test_brightness_contrast_and_place_do_not_tell(records):
    images = records["image"].reshape(600, -1)
    trivial = {"sum": images.sum(1), "max": images.max(1), "min": images.min(1), "std": images.std(1)}
    trivial |= {"row": records["row"], "column": records["column"]}
    # Standard deviation of the area under no difference: √(601 / (12 · 300²)) = 0.024; four of them.
    for name, values in trivial.items():
        assert abs(area(values, records["label"]) - 0.5) < 0.095, name
