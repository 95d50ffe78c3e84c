"""Fields of galaxies and stars: sources as drawn, labels that follow from them, and classes told by shape alone."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from zoo_datasets import pixel_morphology as module
from zoo_datasets import simulation, sky

COUNT = 120


def simulate(number):
    return module.simulate(simulation.generator("pixel_morphology", "default", "train", number))


@pytest.fixture(scope="module")
def records():
    """120 fields; 2 s, for each has five sources on a fine grid."""
    records = [simulate(number) for number in range(COUNT)]
    return {field: np.stack([record[field] for record in records]) for field in records[0]}


def test_shapes_and_types(records):
    assert records.keys() == module.FEATURES.keys()
    assert records["image"].shape == (COUNT, 64, 64, 3) and records["image"].dtype == np.float32
    assert records["label"].shape == (COUNT, 64, 64) and records["label"].dtype == np.uint8
    assert records["objects"].shape == (COUNT, 64, 64) and records["objects"].dtype == np.int32
    for field in module.SOURCES:
        assert records[field].shape == (COUNT, 8)
        assert records[field].dtype == (np.int32 if field == "kinds" else np.float32)
    assert np.isfinite(records["image"]).all()


def test_same_generator_same_record():
    first, again, other = simulate(3), simulate(3), simulate(4)
    for field, value in first.items():
        np.testing.assert_array_equal(value, again[field])
    assert not np.array_equal(first["image"], other["image"])


def test_labels_objects_and_sources_agree(records):
    for label, objects, kinds in zip(records["label"], records["objects"], records["kinds"], strict=True):
        np.testing.assert_array_equal(label > 0, objects > 0)
        for number in np.unique(objects[objects > 0]):
            assert (label[objects == number] == kinds[number - 1]).all() and kinds[number - 1] > 0
    absent = records["kinds"] < 0
    for field in ("magnitudes", "colours", "half_light_radii", "rows", "columns"):
        assert not records[field][absent].any()
    # Sources fill the slots from the first on.
    assert (np.diff(absent.astype(int), axis=1) >= 0).all()
    counts = 8 - absent.sum(1)
    assert counts.min() == module.FEWEST and counts.max() == module.MOST


def test_ranges(records):
    drawn = records["kinds"] > 0
    for field, (low, high) in {
        "magnitudes": module.MAGNITUDE,
        "colours": module.COLOUR_GR,
        "rows": (module.MARGIN, 63 - module.MARGIN),
        "columns": (module.MARGIN, 63 - module.MARGIN),
    }.items():
        values = records[field][drawn]
        # To the last digit of float32; 660 draws come within 2 % of both ends.
        assert low - 1e-5 <= values.min() < low + 0.02 * (high - low), field
        assert high - 0.02 * (high - low) < values.max() <= high + 1e-5, field
    radii, points = records["half_light_radii"], records["kinds"] == module.POINT
    assert not radii[points].any()
    low, high = module.HALF_LIGHT_RADIUS
    assert low - 1e-6 <= radii[drawn & ~points].min() and radii[drawn & ~points].max() <= high + 1e-6


def test_label_is_the_class_of_the_strongest_source_of_a_field_without_overlap(monkeypatch):
    """One source: its pixels hold its centre, and are those where it gives more than one standard deviation."""
    monkeypatch.setattr(module, "FEWEST", 1)
    monkeypatch.setattr(module, "MOST", 1)
    monkeypatch.setattr(module, "MAGNITUDE", (20.0, 21.0))
    seen = set()
    for number in range(30):
        record = simulate(number)
        kind = int(record["kinds"][0])
        seen.add(kind)
        assert set(np.unique(record["label"])) == {0, kind}
        row, column = round(float(record["rows"][0])), round(float(record["columns"][0]))
        if kind != 3:  # an irregular one may be faint in its middle
            assert record["label"][row, column] == kind
        inside, outside = (record["image"][..., 1][record["label"] == value] for value in (kind, 0))
        # What is outside is noise on light below the threshold.
        assert inside.mean() > 3 and outside.mean() < 0.6
        assert outside.max() < module.THRESHOLD + 5.5
    assert seen == {1, 2, 3, 4}


def test_flux_in_the_frame_is_that_of_the_magnitudes(records):
    """Sources near the edge lose light, and none gains any."""
    for number, band in enumerate(module.BANDS):
        background = sky.sky_electrons(sky.BANDS[band], module.EXPOSURE)
        colours = (records["colours"], 0 * records["colours"], -0.4 * records["colours"])[number]
        light = sky.electrons(records["magnitudes"] + colours, sky.BANDS[band], module.EXPOSURE)
        expected = np.where(records["kinds"] > 0, light, 0).sum(1) / background**0.5
        found = records["image"][..., number].sum((1, 2), dtype=np.float64)
        # Galaxies at the edge lose up to half; in i the colours scatter by 5 %. None gains more than noise.
        ratio = found / expected
        assert 0.8 < np.median(ratio) < 1.0
        assert (found - expected < 5 * np.sqrt(4096 + expected / background**0.5) + 0.15 * expected).all()


@pytest.mark.parametrize(("shape", "light"), [(module.spheroid, 0.94), (module.disk, 1.0), (module.irregular, 1.0)])
def test_galaxies_have_their_light_and_their_half_light_radius(shape, light):
    random = np.random.default_rng(0)
    radii = []
    for _ in range(20):
        column, row = random.uniform(-0.05, 0.05, 2)
        image = shape(random, module.Place(column, row, 0.8, random.uniform(0, 180)))
        # Wings beyond 6.4 arcsec are outside; arms and the cusp are sampled in steps of 0.1.
        assert image.sum() * module._STEP**2 == pytest.approx(light, abs=0.03)
        radii.append(sky.half_light_radius(image, module._STEP))
    # In circles; that of a flat ellipse is smaller than its geometric mean radius, clumps scatter by 15 %.
    assert np.mean(radii) == pytest.approx(0.78, abs=0.05)


def test_point_source_is_where_and_as_wide_as_asked():
    image = module.point(module.Place(0.1, -0.3, 1.0, 33.0), 0.7)
    assert image.sum() == pytest.approx(1, abs=0.005)
    x, y = sky.grid(64, sky.PIXEL)
    assert (x * image).sum() == pytest.approx(0.1, abs=0.005) and (y * image).sum() == pytest.approx(-0.3, abs=0.005)
    centred = module.point(module.Place(0.1, 0.1, 1.0, 0.0), 1.4)
    row = np.interp(0.7, x[0, 32:] - 0.1, centred[32, 32:] / centred.max())
    assert row == pytest.approx(0.5, abs=0.02)


def test_class_is_independent_of_magnitude_colour_place_and_number(records):
    drawn = records["kinds"] > 0
    kinds = records["kinds"][drawn]
    counts = np.bincount(kinds, minlength=5)[1:]
    # 660 sources: 165 ± 11 of each class, four of them.
    assert np.abs(counts - counts.mean()).max() < 45
    number = np.broadcast_to(drawn.sum(1, keepdims=True), drawn.shape)
    for name, values in {**{field: records[field] for field in module.SOURCES}, "number": number}.items():
        if name in ("kinds", "half_light_radii"):
            continue
        for kind in range(1, 5):
            # Standard error of the correlation 1/√660 = 0.039, four of them.
            assert abs(np.corrcoef(values[drawn], kinds == kind)[0, 1]) < 0.16, (name, kind)


def test_a_pixel_on_its_own_does_not_tell_the_class_of_its_source(records):
    """Logistic regression on the brightness and colours of a pixel, four classes of equal weight: 25 % is chance."""
    label = records["label"]
    pixels = np.arcsinh(records["image"].astype(np.float64))
    half = COUNT // 2
    fitted, tested = (label[part] > 0 for part in (slice(half), slice(half, None)))
    model = LogisticRegression(class_weight="balanced").fit(pixels[:half][fitted][::7], label[:half][fitted][::7])
    predicted, truth = model.predict(pixels[half:][tested]), label[half:][tested]
    recall = np.mean([(predicted[truth == kind] == kind).mean() for kind in range(1, 5)])
    assert 0.2 < recall < 0.4
