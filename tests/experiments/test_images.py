"""Preprocessing against a literal NumPy twin: crops, areas, scales and curves."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.errors import UserError
from zoo_experiments.verbs.images import SOFTENING, Images, central_square, resize

pytestmark = pytest.mark.smoke
PLAIN = Images(size=0)


def picture(height, width, channels=1, dtype=np.float32, seed=0):
    values = np.random.default_rng(seed).random((height, width, channels))
    return values.astype(dtype) if np.issubdtype(dtype, np.floating) else (values * np.iinfo(dtype).max).astype(dtype)


def area_mean(image, size):
    """Mean over areas by loops; a pixel that lies in two areas counts in each by its overlap."""
    height, width, channels = image.shape
    out = np.zeros((size, size, channels))
    for i in range(size):
        for j in range(size):
            total = 0.0
            for y in range(height):
                for x in range(width):
                    down = max(0.0, min(y + 1, (i + 1) * height / size) - max(y, i * height / size))
                    across = max(0.0, min(x + 1, (j + 1) * width / size) - max(x, j * width / size))
                    out[i, j] += down * across * image[y, x]
                    total += down * across
            out[i, j] /= total
    return out


@pytest.mark.parametrize(("side", "size"), [(12, 4), (12, 6), (9, 3)])
def test_shrinking_is_the_mean_over_areas(side, size):
    image = picture(side, side, 2)
    np.testing.assert_allclose(resize(image, size), area_mean(image, size), atol=1e-6)  # float32 sums


@pytest.mark.parametrize(("side", "size"), [(10, 4), (7, 5), (16, 9)])
def test_shrinking_by_a_broken_factor_takes_whole_pixels_by_their_centres(side, size):
    image, scale = picture(side, side), side / size
    inside = [[-0.5 < (x - i) / scale <= 0.5 for x in range(side)] for i in np.arange(size) * scale + scale / 2 - 0.5]
    expected = [[image[np.ix_(rows, columns)].mean((0, 1)) for columns in inside] for rows in inside]
    np.testing.assert_allclose(resize(image, size), expected, atol=1e-6)  # float32 sums


def test_growing_is_bilinear_and_the_same_size_is_left_alone():
    ramp = np.arange(4, dtype=np.float32)[None, :, None] * np.ones((4, 1, 1), np.float32)
    grown = resize(ramp, 8)
    # Pixel centres: output j lies at (j + 0.5) / 2 − 0.5, held at the borders.
    expected = np.clip((np.arange(8) + 0.5) / 2 - 0.5, 0, 3)
    np.testing.assert_allclose(grown[3, :, 0], expected, atol=1e-6)
    assert resize(ramp, 4) is ramp


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 12))
def test_central_square_leaves_equal_margins(height, width, side):
    image = np.arange(height * width).reshape(height, width, 1)
    cut = central_square(image, side)
    kept = min(side, height, width)
    assert cut.shape == (kept, kept, 1)
    top, left = divmod(int(cut[0, 0, 0]), width)
    np.testing.assert_array_equal(cut, image[top : top + kept, left : left + kept])
    for before, extent in ((top, height), (left, width)):
        assert 0 <= (extent - kept - before) - before <= 1


@pytest.mark.parametrize(("dtype", "largest"), [(np.uint8, 255), (np.uint16, 65535), (np.int16, 32767)])
def test_integers_are_divided_by_the_largest_of_their_type(dtype, largest):
    image = picture(6, 6, dtype=dtype)
    out = PLAIN.image(image)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, image.astype(np.float64) / largest, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_keep_their_values(dtype):
    image = 7 * picture(6, 6, dtype=dtype) - 3
    np.testing.assert_array_equal(PLAIN.image(image), image.astype(np.float32))


@given(st.floats(1e-3, 1e3))
def test_scaling_by_the_maximum_removes_brightness(factor):
    image = picture(5, 5)
    scaled = dataclasses.replace(PLAIN, scale="max")
    np.testing.assert_allclose(scaled.image(factor * image), scaled.image(image), rtol=1e-5)
    assert scaled.image(factor * image).max() == 1


def test_stretches_are_their_formulae_odd_and_keep_one():
    image = np.array([-1.0, -0.25, 0.0, 0.04, 1.0], np.float32).reshape(1, 5, 1)
    twins = {
        "linear": lambda v: v,
        "sqrt": lambda v: np.sign(v) * abs(v) ** 0.5,
        "asinh": lambda v: np.arcsinh(v / SOFTENING) / np.arcsinh(1 / SOFTENING),
    }
    for stretch, twin in twins.items():
        out = dataclasses.replace(PLAIN, stretch=stretch).image(image)[0, :, 0]
        np.testing.assert_allclose(out, [twin(float(v)) for v in image[0, :, 0]], rtol=1e-6, err_msg=stretch)
        assert out[-1] == 1 and out[0] == -1


def test_colours_are_differences_of_stretched_bands_around_the_middle_one():
    image = picture(4, 4, 5)
    plain = dataclasses.replace(PLAIN, stretch="asinh", crop=(0, 2), size=2)
    bands = plain.image(image)
    out = dataclasses.replace(plain, colours=0.1).image(image)
    assert out.shape == bands.shape and out.dtype == np.float32
    for first in (0, 5):
        u, g, r, i, z = np.moveaxis(bands[..., first : first + 5].astype(float), -1, 0)
        by_hand = np.stack([(u - g) / 0.1, (g - r) / 0.1, r, (r - i) / 0.1, (i - z) / 0.1], axis=-1)
        np.testing.assert_allclose(out[..., first : first + 5], by_hand, atol=1e-5)  # float32 differences over 0.1
    with pytest.raises(UserError, match=r"images\.colours is for images of several bands"):
        dataclasses.replace(PLAIN, colours=0.1).image(picture(4, 4))
    with pytest.raises(UserError, match=r"images\.colours must be a finite number"):
        Images(colours=-1.0)


def test_the_curve_is_applied_after_the_mean_over_areas():
    image = picture(8, 8)
    out = Images(size=4, stretch="sqrt").image(image)
    np.testing.assert_allclose(out, np.sqrt(area_mean(image, 4)), atol=1e-6)


def test_several_crops_become_channels_in_order():
    image = picture(16, 16, 2)
    out = Images(crop=(4, 8, 0), size=4).image(image)
    assert out.shape == (4, 4, 6)
    for number, side in enumerate((4, 8, 16)):
        margin = (16 - side) // 2
        window = image[margin : 16 - margin, margin : 16 - margin]
        np.testing.assert_allclose(out[..., 2 * number : 2 * number + 2], area_mean(window, 4), atol=1e-6)


@pytest.mark.parametrize("scale", ["unit", "max"])
@pytest.mark.parametrize("stretch", ["linear", "sqrt", "asinh"])
def test_a_blank_image_stays_blank_and_finite(scale, stretch):
    out = Images(size=4, scale=scale, stretch=stretch).image(np.zeros((8, 8, 1), np.uint8))
    np.testing.assert_array_equal(out, np.zeros((4, 4, 1)))


def test_an_oblong_image_is_cut_to_its_central_square():
    image = picture(8, 14)
    np.testing.assert_array_equal(Images(size=8).image(image), image[:, 3:11])
    np.testing.assert_array_equal(Images(size=0, crop=(6,)).image(image), image[1:7, 4:10])
    np.testing.assert_array_equal(PLAIN.image(image), image)


def test_an_image_smaller_than_the_crop_is_kept_whole():
    image = picture(6, 6)
    np.testing.assert_array_equal(Images(size=0, crop=(9,)).image(image), image)


def test_a_record_keeps_its_other_fields():
    out = Images(size=4)({"image": picture(8, 8), "label": 2})
    assert out["label"] == 2 and out["image"].shape == (4, 4, 1)


@pytest.mark.parametrize(("shape", "size"), [((8, 8), 0), ((1, 8, 8, 1), 4), ((1, 1, 8, 8, 1), 0)])
def test_another_rank_is_refused(shape, size):
    with pytest.raises(UserError, match=r"\(H, W, C\), got \(") as caught:
        Images(size=size).image(np.zeros(shape, np.float32))
    assert str(shape) in str(caught.value) and ("set images.size to 0" in str(caught.value)) == (len(shape) == 4)


def test_a_volume_is_scaled_and_stretched_only():
    volume = picture(6, 40)[..., None].reshape(5, 6, 8, 1)
    np.testing.assert_array_equal(Images(size=0, full_scale=2.0).image(volume), volume / 2)


def test_pixels_that_are_nan_are_masked_on_request():
    image = picture(6, 6, 2)
    image[1, 2, 0] = np.nan
    out = Images(size=0, nan="mask")({"image": image, "valid": np.eye(6, dtype=np.uint8)})
    assert np.isfinite(out["image"]).all() and out["image"][1, 2].tolist() == [0, 0]
    np.testing.assert_array_equal(out["valid"], np.eye(6) * np.isfinite(image).all(-1))
    assert out["valid"].dtype == np.uint8
    assert np.isnan(Images(size=0)({"image": image})["image"]).any()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"crop": ()}, ("images.crop", "at least one", "()")),
        ({"crop": (8, -1)}, ("images.crop", "at least 0", "-1")),
        ({"size": -4}, ("images.size", "at least 0", "-4")),
    ],
)
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(UserError) as caught:
        Images(**settings)
    assert all(word in str(caught.value) for word in words)


def test_crops_of_unlike_sizes_need_a_size():
    with pytest.raises(UserError, match=r"set images\.size"):
        Images(crop=(2, 4), size=0).image(picture(8, 8))


def test_floats_are_divided_by_the_full_scale_and_integers_by_that_of_their_type():
    image = picture(6, 6, 2) * 40
    np.testing.assert_allclose(Images(size=0, full_scale=20.0).image(image), image / 20, rtol=1e-6)  # float32
    compressed = Images(size=0, full_scale=20.0, stretch="asinh").image(image)
    np.testing.assert_allclose(compressed, np.arcsinh(image) / np.arcsinh(20), rtol=1e-5)  # 20 · SOFTENING is one unit
    whole = picture(6, 6, dtype=np.uint8)
    np.testing.assert_array_equal(Images(size=0, full_scale=20.0).image(whole), PLAIN.image(whole))
    for wrong in (0.0, -1.0, np.inf):
        with pytest.raises(UserError, match=r"images\.full_scale must be a finite number above 0"):
            Images(full_scale=wrong)
