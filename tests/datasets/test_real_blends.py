"""Blends of real galaxies, on small files made for it; what needs the published file is marked so."""

import numpy as np
import pytest
from astropy.io import fits

from zoo_datasets import real_blends as module
from zoo_datasets import simulation
from zoo_datasets.loading import catalogue
from zoo_datasets.loading.pipeline import in_memory
from zoo_datasets.loading.records import DataError
from zoo_datasets.loading.sources import SourceError

COUNT = 15
NOISE = 0.003


def galaxy(rng, side, flux, row=0.0, column=0.0, width=5.0):
    """A round Gaussian of this flux and standard deviation, off the middle by (row, column) px, with noise."""
    rows, columns = np.indices((side, side)) - (side - 1) / 2
    profile = np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * width**2))
    return flux * profile / (2 * np.pi * width**2) + rng.normal(0, NOISE, (side, side))


@pytest.fixture(scope="module")
def images():
    """15 galaxies of 3 to 10 in flux, 500 to 1,700 times the noise of a binned pixel; sides of 48 to 76 px."""
    rng = np.random.default_rng(2)
    return [galaxy(rng, 48 + 2 * number, 3 + number / 2) for number in range(COUNT)]


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Function (images) that writes a file into the manual folder."""
    monkeypatch.setenv("ZOO_MANUAL_DIR", str(tmp_path))
    monkeypatch.setattr(module.RealBlends, "count", COUNT)
    (tmp_path / module.FOLDER).mkdir()

    def write(images):
        path = tmp_path / module.FOLDER / module.FILE
        first, *rest = images
        fits.HDUList([fits.PrimaryHDU(first), *map(fits.ImageHDU, rest)]).writeto(path)
        return path

    return write


@pytest.fixture(scope="module")
def stamps(images):
    return [module.cut_out(number, image) for number, image in enumerate(images)]


@pytest.fixture(scope="module")
def records(stamps):
    records = [module.simulate(simulation.generator("real_blends", "default", "train", n), stamps) for n in range(80)]
    return {field: np.stack([record[field] for record in records]) for field in records[0]}


def test_cut_out_keeps_the_flux_in_units_of_the_noise(stamps):
    for number, stamp in enumerate(stamps):
        # The noise of a binned pixel is twice that of a pixel; it is measured on some 150 pixels, to 10 %, and what
        # is cut off outside of about three standard deviations of the profile is 2 %.
        assert stamp.flux == pytest.approx((3 + number / 2) / (2 * NOISE), rel=0.25)
        middle = (len(stamp.light) - 1) / 2
        np.testing.assert_allclose(stamp.centre, (middle, middle), atol=0.25)
        assert (stamp.light[~stamp.region] == 0).all()
        assert 5 < stamp.reach < 13


def test_sky_and_neighbours_are_left_out():
    rng = np.random.default_rng(0)
    alone = galaxy(rng, 80, 6.0, width=4.0)
    crowded = alone + galaxy(rng, 80, 20.0, row=28, column=-28, width=3.0) + 0.05
    expected, stamp = module.cut_out(0, alone), module.cut_out(0, crowded)
    assert stamp.reach < 12
    # Twice the noise's variance in the second, and the stamps are in units of it.
    assert stamp.flux == pytest.approx(expected.flux / np.sqrt(2), rel=0.15)
    assert not stamp.region[:, :8].any() and not stamp.region[-8:].any()


@pytest.mark.parametrize("pixels", [np.zeros((40, 40)), np.random.default_rng(1).normal(size=(40, 40)) * 1e-9 - 1.0])
def test_stamp_without_galaxy_is_none_or_faint(pixels):
    stamp = module.cut_out(0, pixels)
    assert stamp is None or stamp.flux < module.LEAST_FLUX / 3


def test_stamp_is_shifted_by_whole_pixels_and_cut_at_the_frame(stamps):
    stamp = stamps[3]
    light, region, centre = module.placed(stamp, 30.0, 33.0)
    top, left = (round(part - of) for part, of in zip((30.0, 33.0), stamp.centre, strict=True))
    side = len(stamp.light)
    np.testing.assert_array_equal(light[top : top + side, left : left + side], stamp.light)
    assert light.sum() == pytest.approx(stamp.flux) and region.sum() == stamp.region.sum()
    np.testing.assert_allclose(centre, (30.0, 33.0), atol=0.5)
    cut, _, _ = module.placed(stamp, 1.0, 63.0)
    assert cut.shape == (64, 64) and 0.2 * stamp.flux < cut.sum() < 0.8 * stamp.flux


@pytest.mark.parametrize(("quarters", "mirrored"), [(0, False), (1, False), (2, True), (3, True)])
def test_turned_stamp_has_the_same_pixels(stamps, quarters, mirrored):
    turned = stamps[5].turned(quarters, mirrored)
    np.testing.assert_array_equal(np.sort(turned.light, axis=None), np.sort(stamps[5].light, axis=None))
    # Smoothing adds in another order.
    assert turned.reach == pytest.approx(stamps[5].reach, rel=1e-9)
    assert np.array_equal(turned.light, stamps[5].light) == ((quarters, mirrored) == (0, False))


def test_noise_has_the_correlation_that_is_stated():
    noise = np.stack([module.correlated_noise(np.random.default_rng(n)) for n in range(60)])
    # 245,760 pixels: the variance is known to 0.3 %, correlations to 0.002; four of them.
    assert noise.var() == pytest.approx(1, rel=0.015)
    for pair in ((noise[:, 1:], noise[:, :-1]), (noise[..., 1:], noise[..., :-1])):
        assert (pair[0] * pair[1]).mean() == pytest.approx(0.18, abs=0.01)
    assert (noise[:, 2:] * noise[:, :-2]).mean() == pytest.approx(0, abs=0.02)


def test_noise_is_the_same_inside_and_outside_of_the_galaxies():
    """Stamps of a constant and noise of 1: what remains of the image without the constants has a variance of 1."""
    rng = np.random.default_rng(0)
    region = np.ones((30, 30), bool)
    stamps = [module.Stamp(n, 5.0 + rng.normal(size=(30, 30)), region) for n in range(40)]
    inside, outside = [], []
    for number in range(60):
        record = module.simulate(np.random.default_rng(number), stamps)
        seen = record["parts"] != 0
        pair = [stamps[int(record[f"stamp_{name}"])] for name in module.MASKS]
        expected = np.zeros((64, 64))
        for part, where, stamp in zip(np.moveaxis(record["parts"], -1, 0), np.moveaxis(seen, -1, 0), pair, strict=True):
            # Of the pixels in the frame; all that are cut off belong to the companion.
            expected += where * 5.0 * np.abs(part).max() / np.abs(stamp.light).max() if where.sum() == 900 else np.nan
        residual = record["image"][..., 0] - expected
        if np.isfinite(residual).all():
            inside.append(residual[seen.any(-1)])
            outside.append(residual[~seen.any(-1)])
    inside, outside = np.concatenate(inside), np.concatenate(outside)
    assert len(inside) > 20_000
    # Some 40 stamps of 900 pixels and more that is drawn anew: 1 % and the correlation; five of them.
    assert inside.var() == pytest.approx(1, abs=0.06) and outside.var() == pytest.approx(1, abs=0.04)


def test_record_follows_from_its_parts(records):
    flux = records["parts"].astype(float).sum((1, 2))
    np.testing.assert_allclose(10 ** records["target"], flux, rtol=1e-4)
    np.testing.assert_allclose(records["gap"], -2.5 * np.log10(flux[:, 1] / flux[:, 0]), atol=1e-4)
    smooth = np.stack([[module.smoothed(part) for part in np.moveaxis(parts, -1, 0)] for parts in records["parts"]])
    clear = np.abs(smooth - module.THRESHOLD) > 1e-4
    masks = np.moveaxis(records["masks"], -1, 1)
    np.testing.assert_array_equal(masks[clear], (smooth > module.THRESHOLD)[clear])
    assert records["masks"].dtype == np.uint8
    distance = np.hypot(*(np.diff(records[field], axis=1)[:, 0] for field in ("rows", "columns")))
    np.testing.assert_allclose(records["separation"], distance, atol=1e-4)
    # Whole pixels: half a one along each axis, for either galaxy.
    assert (np.abs(records["rows"][:, 0] - 31.5) <= 2.5).all()
    assert distance.min() > 2 - 1.5 and distance.max() < 25 + 1.5


def test_gap_does_not_depend_on_the_separation_or_the_stamps(records):
    fields = ("gap", "separation", "stamp_central", "stamp_companion")
    correlations = np.corrcoef([records[field] for field in fields])[0, 1:]
    # Independent draws: standard deviation 1/√80 = 0.11; four of them.
    assert np.abs(correlations).max() < 0.45
    assert (records["stamp_central"] != records["stamp_companion"]).all()


def test_splits_share_no_stamp(stamps):
    sides = module.split_stamps(stamps)
    numbers = {name: {stamp.number for stamp in members} for name, members in sides.items()}
    assert [len(numbers[name]) for name in module.SPLIT_NAMES] == [9, 3, 3]
    assert set.union(*numbers.values()) == set(range(COUNT))
    again = module.split_stamps(list(reversed(stamps)))
    assert {name: {stamp.number for stamp in members} for name, members in again.items()} == numbers


def test_prepared_records_are_of_the_stamps_of_their_split(tmp_path, images, write):
    path = write(images)
    dataset = catalogue.load("real_blends/tiny", data_dir=tmp_path / "data")
    assert dataset.targets == module.TARGETS
    sides = module.split_stamps(module.read_stamps(path, COUNT))
    for split, source in dataset.splits.items():
        fields = in_memory(source).arrays
        assert fields.keys() == module.FEATURES.keys()
        assert len(fields["image"]) == module.SPLIT_SIZES["tiny"][split]
        used = set(fields["stamp_central"]) | set(fields["stamp_companion"])
        assert used <= {stamp.number for stamp in sides[split]}
        expected = module.simulate(simulation.generator("real_blends", "default", split, 0), sides[split])
        assert expected["image"].tobytes() in {image.tobytes() for image in fields["image"]}


def test_missing_file_says_what_to_get_and_where_to_put_it(tmp_path, write, monkeypatch):
    with pytest.raises(SourceError, match=rf"{module.FILE} is missing.*Get .*github\.com/LSSTDESC"):
        catalogue.load("real_blends/tiny", data_dir=tmp_path / "data")
    monkeypatch.delenv("ZOO_MANUAL_DIR")
    with pytest.raises(SourceError, match=rf"ZOO_MANUAL_DIR is not set.*{module.FILE} in the folder {module.FOLDER}"):
        catalogue.load("real_blends/tiny", data_dir=tmp_path / "data")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[:-1], f"expected {COUNT} HDUs with a galaxy each, got {COUNT - 1}.*Fetch it"),
        (lambda x: [*x[:4], x[4][:-2], *x[5:]], r"HDU 4: expected a square image of 16 px or more, got .*\(54, 56\)"),
        (lambda x: [*x[:4], x[4][:10, :10], *x[5:]], r"HDU 4: expected a square image .*\(10, 10\)"),
        (lambda x: [None, *x[1:]], "HDU 0: expected a square image .* got no image"),
        (lambda x: [np.where(np.eye(48), np.nan, x[0]), *x[1:]], "HDU 0: pixels should be finite, got NaN"),
        (lambda x: [x[0]] * 3 + [image * 0 for image in x[3:]], "every split needs two galaxies or more, got .* of 3"),
    ],
)
def test_another_layout_is_refused(tmp_path, images, write, change, message):
    write(change(images))
    with pytest.raises(DataError, match=message):
        catalogue.load("real_blends/tiny", data_dir=tmp_path / "data")
    assert not catalogue.describe("real_blends/tiny", data_dir=tmp_path / "data").prepared


@pytest.mark.parametrize("damage", ["not FITS", "truncated"])
def test_damaged_file_is_refused(tmp_path, images, write, damage):
    path = write(images)
    path.write_bytes(b"not a FITS file" if damage == "not FITS" else path.read_bytes()[:-20_000])
    with pytest.raises(DataError, match=rf"{module.FILE}.*(cannot be read as FITS|expected {COUNT} HDUs).*github"):
        catalogue.load("real_blends/tiny", data_dir=tmp_path / "data")


@pytest.mark.manual_data
def test_published_stamps_are_those_described(manual):
    stamps = module.read_stamps(manual(f"{module.FOLDER}/{module.FILE}"))
    assert len(stamps) == 46
    sides = module.split_stamps(stamps)
    assert [len(sides[name]) for name in module.SPLIT_NAMES] == [27, 9, 10]
    records = [
        module.simulate(simulation.generator("real_blends", "default", "test", n), sides["test"]) for n in range(60)
    ]
    empty = np.mean([record["masks"].sum((0, 1)).min() == 0 for record in records])
    assert empty < 0.1
    corners = np.concatenate([record["image"][:4, :4].ravel() for record in records])
    # 960 correlated pixels: 2.6 %; four of them, and a galaxy may reach there.
    assert corners.std() == pytest.approx(1, abs=0.15)
