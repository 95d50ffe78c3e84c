"""Simulated lenses: the lens equation against closed forms, and impostors with the light and colour of arcs."""

import math

import numpy as np
import pytest

from zoo_datasets import lenses, simulation, sky

COUNT = 160


@pytest.fixture(scope="module")
def records():
    """160 images; 1 to 2 s."""
    generators = (simulation.generator("lenses", "default", "train", n) for n in range(COUNT))
    records = [lenses.simulate(random, n, lenses.SETTINGS["default"]) for n, random in enumerate(generators)]
    return {field: np.stack([record[field] for record in records]) for field in records[0]}


def test_almost_circular_lens_deflects_by_its_einstein_radius():
    lens = lenses.Lens(einstein_radius=1.5, axis_ratio=0.99999, position_angle=20)
    x, y = np.array([3.0, 0.3, -1.0]), np.array([4.0, -0.4, 1.0])
    source = np.stack(lens.source_plane(x, y))
    radius = np.hypot(x, y)
    # 1 − axis ratio is 1e-5, and the deflection differs by as much.
    np.testing.assert_allclose(source, np.stack([x, y]) * (1 - 1.5 / radius), atol=3e-5)


@pytest.mark.parametrize("axis_ratio", [0.6, 0.9])
def test_divergence_of_the_deflection_is_twice_the_surface_density_and_the_curl_is_zero(axis_ratio):
    """κ = b / (2 √(q u² + v²/q)), u and v along the axes of the mass; derivatives by central differences."""
    lens = lenses.Lens(einstein_radius=1.3, axis_ratio=axis_ratio, position_angle=35)
    x, y = np.random.default_rng(0).uniform(0.4, 2.5, (2, 50))
    step = 1e-5

    def deflection(x, y):
        source = lens.source_plane(x, y)
        return x - source[0], y - source[1]

    right, left = deflection(x + step, y), deflection(x - step, y)
    up, down = deflection(x, y + step), deflection(x, y - step)
    divergence = (right[0] - left[0] + up[1] - down[1]) / (2 * step)
    curl = (right[1] - left[1] - up[0] + down[0]) / (2 * step)
    along, across = sky.turned(x, y, 35)
    density = 1.3 / (2 * sky.elliptical_radius(along, across, axis_ratio))
    # Rounding in the differences: 1e-16 / 1e-5.
    np.testing.assert_allclose(divergence, 2 * density, rtol=1e-7)
    np.testing.assert_allclose(curl, 0, atol=1e-8)


def test_shear_stretches_along_its_angle():
    """β = θ − Γ θ with Γ = γ (cos 2φ, sin 2φ; sin 2φ, −cos 2φ): along φ by 1 − γ, across by 1 + γ."""
    lens = lenses.Lens(einstein_radius=0.0, axis_ratio=0.9, position_angle=0, shear=0.1, shear_angle=30)
    cos, sin = math.cos(math.radians(30)), math.sin(math.radians(30))
    x, y = lens.source_plane(np.array([cos, -sin]), np.array([sin, cos]))
    np.testing.assert_allclose(x, [0.9 * cos, -1.1 * sin], atol=1e-12)
    np.testing.assert_allclose(y, [0.9 * sin, 1.1 * cos], atol=1e-12)


@pytest.mark.parametrize("distance", [0.4, 0.8])
def test_small_source_is_magnified_by_twice_the_einstein_radius_over_its_distance(distance):
    """Singular isothermal sphere, two images: (1 + θ/β) + (θ/β − 1) = 2θ/β."""
    lens = lenses.Lens(einstein_radius=1.5, axis_ratio=0.9999, position_angle=0)
    x, y = lens.source_plane(*sky.grid(1280, 0.01))
    light = lenses.blob(x - distance, y, 0.05, 1.0, 0.0, 1.0).sum() * 0.01**2
    # The source's size of 0.05 against its distance, squared.
    assert light == pytest.approx(2 * 1.5 / distance, rel=0.02)


def test_arcs_on_the_grid_of_the_records_have_the_light_of_a_finer_grid(monkeypatch):
    def magnification(oversampling, number):
        monkeypatch.setattr(lenses, "_OVERSAMPLING", oversampling)
        monkeypatch.setattr(lenses, "_STEP", sky.PIXEL / oversampling)
        return lenses.lensed_source(np.random.default_rng(number), 1.6)[1]

    for number in range(5):
        # Steps of 0.1 arcsec, sources from 0.08 on: 0.05 mag.
        assert magnification(2, number) == pytest.approx(magnification(6, number), rel=0.05)


def test_properties_of_lenses_and_others(records):
    labels = records["label"]
    low, high = lenses.SETTINGS["default"].einstein_radius
    assert (records["einstein_radius"][labels == 0] == 0).all()
    assert low <= records["einstein_radius"][labels == 1].min() and records["einstein_radius"].max() <= high
    assert (records["impostor"][labels == 1] == 0).all()
    assert set(records["impostor"][labels == 0]) == {1, 2, 3}
    assert (records["arc_magnitude"] < records["source_magnitude"]).all()
    assert records["snr"].min() > 20


def area(values, labels):
    ones, zeros = values[labels == 1], values[labels == 0]
    return np.mean(np.sign(ones[:, None] - zeros) / 2 + 0.5)


def test_flux_colour_seeing_and_noise_do_not_tell(records):
    flux = records["image"].astype(np.float64).sum((1, 2))
    trivial = {f"flux {band}": flux[:, number] for number, band in enumerate("gri")}
    trivial |= {"g over i": flux[:, 0] / flux[:, 2], "corner": records["image"][:, :6, :6, 0].std((1, 2))}
    fields = ("source_magnitude", "arc_magnitude", "source_colour", "deflector_magnitude", "deflector_colour", "seeing")
    trivial |= {field: records[field] for field in fields}
    for name, values in trivial.items():
        # 80 against 80: √(161 / (12 · 80²)) = 0.046, four of them.
        assert abs(area(values, records["label"]) - 0.5) < 0.185, name


def test_deflector_does_not_depend_on_the_class():
    """The same generator, once as a lens and once not: all is the same but the blue light."""
    setting = lenses.SETTINGS["default"]
    pair = [lenses.simulate(simulation.generator("lenses", "default", "test", 7), n, setting) for n in (0, 1)]
    for field in lenses.PROPERTIES:
        if field not in ("einstein_radius", "snr", "impostor"):
            assert pair[0][field] == pair[1][field], field


def test_other_setting_differs_in_what_it_says():
    generators = [simulation.generator("lenses", "other", "train", n) for n in range(60)]
    records = [lenses.simulate(random, n, lenses.SETTINGS["other"]) for n, random in enumerate(generators)]
    assert min(record["seeing"] for record in records) >= 0.75
    kinds = [record["impostor"] for record in records if record["label"] == 0]
    # Half of 30 are spirals, binomial standard deviation 2.7; a setting of 0.15 would give 4.5.
    assert kinds.count(3) > 15 - 2.5 * 2.7
