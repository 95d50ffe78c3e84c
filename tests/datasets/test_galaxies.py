"""Simulated galaxies: shapes as constructed, and classes that differ in nothing but shape."""

import numpy as np
import pytest

from zoo_datasets import galaxies, simulation, sky

COUNT = 120


@pytest.fixture(scope="module")
def records():
    """120 galaxies; 1 to 2 s, since each is drawn by GalSim in three bands."""
    records = [galaxies.simulate(simulation.generator("galaxies", "default", "train", n), n) for n in range(COUNT)]
    return {field: np.stack([record[field] for record in records]) for field in records[0]}


@pytest.mark.parametrize("shape", galaxies._SHAPES)
def test_half_light_radius_is_what_was_asked_for(shape):
    model, _ = shape(np.random.default_rng(1), 40.0)
    narrow, wide = (galaxies.stamps(model, size, 0.05, np.zeros(2))[1] for size in (0.7, 1.0))
    # Measured on pixels of 0.2 arcsec, in a frame of 12.8, which cuts the widest wings.
    assert sky.half_light_radius(narrow, 0.2) == pytest.approx(0.7, rel=0.1)
    assert sky.half_light_radius(wide, 0.2) == pytest.approx(1.0, rel=0.1)


def moments(image):
    """Axis ratio and position angle (degrees) from second moments."""
    x, y = sky.grid(len(image), 1.0)
    xx, yy, xy = ((image * product).sum() / image.sum() for product in (x * x, y * y, x * y))
    low, high = np.linalg.eigvalsh([[xx, xy], [xy, yy]])
    return np.sqrt(low / high), np.degrees(0.5 * np.arctan2(2 * xy, xx - yy)) % 180


def test_elliptical_has_its_axis_ratio_and_position_angle():
    model, axis_ratio = galaxies.elliptical(np.random.default_rng(4), 65.0)
    inner = np.where(np.hypot(*sky.grid(192, 1 / 16)) < 5.9, model, 0)
    measured, angle = moments(inner)
    assert angle == pytest.approx(65, abs=1)
    # Cut by a circle, wings look rounder than they are.
    assert axis_ratio <= measured + 0.01 < axis_ratio + 0.2


def test_disc_from_the_edge_is_thin_and_lies_along_its_position_angle():
    model, axis_ratio = galaxies.edge_on(np.random.default_rng(2), 150.0)
    measured, angle = moments(model)
    assert angle == pytest.approx(150, abs=1)
    assert 0.06 < axis_ratio < 0.14 and measured < 0.25


def test_spiral_has_arms(monkeypatch):
    """Around the circle at 1.2 half-light radii it varies by far more than its inclined disc does without arms."""

    def variation(model):
        angle = np.linspace(0, 2 * np.pi, 90, endpoint=False)
        rows, columns = (np.rint(95.5 + 16 * 1.2 * turn(angle)).astype(int) for turn in (np.sin, np.cos))
        ring = model[rows, columns]
        return ring.std() / ring.mean()

    spirals = [variation(galaxies.spiral(np.random.default_rng(n), 0.0)[0]) for n in range(10)]
    monkeypatch.setattr(sky.Arms, "factor", lambda self, x, y, scale: np.ones_like(x))
    smooth = [variation(galaxies.spiral(np.random.default_rng(n), 0.0)[0]) for n in range(10)]
    assert min(spirals) > 0.3
    assert np.mean(smooth) < 0.6 * np.mean(spirals)


def area(ones, zeros):
    return np.mean(np.sign(ones[:, None] - zeros) / 2 + 0.5)


@pytest.mark.parametrize("pair", [(0, 1), (0, 2), (1, 2)])
def test_flux_size_colour_seeing_noise_and_place_do_not_tell(records, pair):
    image = records["image"].astype(np.float64)
    corner = np.concatenate([image[:, :8, :8], image[:, -8:, -8:]], axis=1).reshape(COUNT, -1, 3)
    trivial = {
        field: records[field]
        for field in ("magnitude", "colour_gr", "colour_ri", "half_light_radius", "seeing", "position_angle")
    }
    trivial |= {f"flux {band}": image[..., number].sum((1, 2)) for number, band in enumerate("gri")}
    # Differences of neighbours: noise alone, where light is faint.
    trivial["noise"] = np.diff(corner[..., 0], axis=1).std(axis=1)
    one, two = pair
    for name, values in trivial.items():
        found = area(values[records["label"] == one], values[records["label"] == two])
        # 40 against 40: √(81 / (12 · 40²)) = 0.065, four of them.
        assert abs(found - 0.5) < 0.26, name


def test_ranges(records):
    for field, (low, high) in {
        "magnitude": galaxies.MAGNITUDE,
        "half_light_radius": galaxies.HALF_LIGHT_RADIUS,
        "seeing": galaxies.SEEING,
        "colour_gr": (0.3, 1.1),
        "position_angle": (0, 180),
        "axis_ratio": (0.06, 1),
    }.items():
        # To the last digit of float32.
        assert low - 1e-6 * high <= records[field].min() and records[field].max() <= high * (1 + 1e-6), field
    assert records["snr"].min() > 100


def test_flux_in_the_frame_is_that_of_the_magnitude(records):
    for number, band in enumerate(galaxies.BANDS):
        colour = (records["colour_gr"], 0 * records["magnitude"], -records["colour_ri"])[number]
        background = sky.sky_electrons(sky.BANDS[band], galaxies.EXPOSURE)
        expected = sky.electrons(records["magnitude"] + colour, sky.BANDS[band], galaxies.EXPOSURE) / background**0.5
        found = records["image"][..., number].sum((1, 2))
        # Noise of the sum: √(4,096 + flux / √background) sky sigmas, five of them.
        assert (np.abs(found - expected) < 5 * np.sqrt(4096 + expected / background**0.5)).all()
