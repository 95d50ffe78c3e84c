"""Tracks in CCD images: labels that are where the tracks are, and nothing simpler than form that tells them."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from zoo_datasets import ccd_tracks as module
from zoo_datasets import simulation

COUNT = 300


def simulate(number):
    return module.simulate(simulation.generator("ccd_tracks", "default", "train", number))


@pytest.fixture(scope="module")
def records():
    """300 images; 1 to 2 s."""
    records = [simulate(number) for number in range(COUNT)]
    return {field: np.stack([record[field] for record in records]) for field in records[0]}


def spread(image):
    """Standard deviations (2,) of light across and along its axis, px."""
    rows, columns = np.indices(image.shape)
    rows, columns = rows - (rows * image).sum() / image.sum(), columns - (columns * image).sum() / image.sum()
    moments = [[(a * b * image).sum() / image.sum() for a in (rows, columns)] for b in (rows, columns)]
    return np.sqrt(np.maximum(np.linalg.eigvalsh(moments), 0))


def test_shapes_and_types(records):
    assert records.keys() == module.FEATURES.keys()
    assert records["image"].shape == (COUNT, 64, 64, 1) and records["image"].dtype == np.float32
    assert records["label"].shape == (COUNT, 64, 64) and records["label"].dtype == np.uint8
    assert records["objects"].shape == (COUNT, 64, 64) and records["objects"].dtype == np.int32
    assert records["energy"].shape == records["length"].shape == (COUNT, 2)
    assert np.isfinite(records["image"]).all()


def test_same_generator_same_record():
    first, again, other = simulate(3), simulate(3), simulate(4)
    for field, value in first.items():
        np.testing.assert_array_equal(value, again[field])
    assert not np.array_equal(first["image"], other["image"])


def test_labels_objects_and_properties_agree(records):
    np.testing.assert_array_equal(records["label"], records["objects"] > 0)
    for number in (1, 2):
        shown = (records["objects"] == number).any((1, 2))
        drawn = records["energy"][:, number - 1] > 0
        np.testing.assert_array_equal(shown, drawn)
        np.testing.assert_array_equal(drawn, records["length"][:, number - 1] > 0)


def test_numbers_of_tracks_and_share_of_their_pixels(records):
    counts = np.bincount((records["energy"] > 0).sum(1), minlength=3) / COUNT
    # Standard error at most √(0.25 / 300) = 0.029, four of them.
    np.testing.assert_allclose(counts, module.TRACKS, atol=0.115)
    assert records["label"].mean() == pytest.approx(0.0027, abs=0.0006)
    assert "0.27 % of the pixels" in module.UNITS


def test_track_has_its_energy_its_length_and_room():
    random = np.random.default_rng(0)
    for _ in range(50):
        image, length, energy = module.track(random)
        assert module.TRACK_LENGTH[0] <= length <= module.TRACK_LENGTH[1]
        # At most 0.1 % of the widest is beyond the frame.
        assert image.sum() * 3.75e-3 == pytest.approx(energy, rel=1e-3)
        across, along = spread(image)
        # An even line of this length, spread by diffusion and by the pixels.
        width = np.sqrt(length**2 / 12 + across**2)
        assert along == pytest.approx(width, rel=0.02)
        assert 0.4 < across < 1
        low, high = module.IONISATION
        assert low * length <= energy / 3.75e-3 <= high * length


def test_muons_are_straight_worms_are_not_and_hits_are_round():
    random = np.random.default_rng(1)
    muons, worms, hits = ([draw(random) for _ in range(60)] for draw in (module.muon, module.worm, module.hit))
    inside = lambda images: [spread(image) for image in images if image.sum() > 500]
    assert max(across for across, _ in inside(muons)) < 1.1
    assert np.median([across for across, _ in inside(worms)]) > 1.5
    # Spread by diffusion and by the pixels, at most √(0.9² + 1/12) or, from pixel to pixel, a little more.
    assert max(along for _, along in inside(hits)) < 1


def test_muon_is_sharp_at_one_end_and_wide_at_the_other():
    random = np.random.default_rng(3)
    checked = 0
    for image in (module.muon(random) for _ in range(60)):
        border = np.concatenate([image[[0, -1]].ravel(), image[:, [0, -1]].ravel()])
        if image.sum() < 500 or border.max() > 1e-3 * image.max():
            continue  # cut by the frame
        rows, columns = np.indices(image.shape)
        rows, columns = rows - (rows * image).sum() / image.sum(), columns - (columns * image).sum() / image.sum()
        moments = [[(a * b * image).sum() for a in (columns, rows)] for b in (columns, rows)]
        (x, y) = np.linalg.eigh(moments)[1][:, 1]
        along, across = columns * x + rows * y, rows * x - columns * y
        ends = [np.where(side * along > 0.3 * np.ptp(along[image > 0.1 * image.max()]), image, 0) for side in (-1, 1)]
        narrow, wide = sorted(np.sqrt((end * across**2).sum() / end.sum()) for end in ends)
        assert wide > 1.3 * narrow
        checked += 1
    assert checked > 5


def test_without_particles_there_is_a_plane_and_noise_of_one(monkeypatch):
    for name in ("MUONS", "WORMS", "HITS", "HOT_PIXELS", "HOT_COLUMNS"):
        monkeypatch.setattr(module, name, 0)
    monkeypatch.setattr(module, "TRACKS", (1.0, 0.0, 0.0))
    rows, columns = np.indices((64, 64)).reshape(2, -1)
    plane = np.stack([np.ones(4096), rows, columns], axis=1)
    for number in range(10):
        record = simulate(number)
        flat = record["image"].ravel()
        rest = flat - plane @ np.linalg.lstsq(plane, flat, rcond=None)[0]
        # 4,096 pixels: the standard deviation is known to 1.1 %, five of them.
        assert rest.std() == pytest.approx(1, abs=0.055)
        assert not record["label"].any() and not record["objects"].any() and not record["energy"].any()


def test_what_else_is_in_the_image_does_not_depend_on_tracks(records):
    electrons = records["image"].sum((1, 2, 3)) * module.READ_NOISE
    others = np.log(np.maximum(electrons - records["energy"].sum(1) / module.PAIR_ENERGY, 1000))
    # Standard error of the correlation 1/√300 = 0.058, four of them.
    assert abs(np.corrcoef(others, records["energy"].any(1))[0, 1]) < 0.23


def test_charge_per_length_of_tracks_is_that_of_muons_and_worms(records):
    density = records["energy"][records["energy"] > 0] / records["length"][records["length"] > 0] / module.PAIR_ENERGY
    middle = np.exp(np.mean(np.log(module.IONISATION)))
    # Uniform in the logarithm over ln(800/120) = 1.9: standard deviation 0.55, of 160 tracks 0.043.
    assert np.log(density).mean() == pytest.approx(np.log(middle), abs=0.18)


def test_brightness_alone_does_not_find_tracks(records):
    truth, image = records["label"].ravel(), records["image"].ravel()
    assert average_precision_score(truth, image) < 0.05
    # Nor does it when everything is bright: of the pixels that tracks have, a few in a hundred are theirs.
    bright = image > np.quantile(image[truth == 1], 0.3)
    assert truth[bright].mean() < 0.06
