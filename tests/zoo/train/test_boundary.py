"""Boundary F1 against SciPy's distances, image by image."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from zoo.train import boundaries, boundary_f1, boundary_report, boundary_sums

SUMS = jax.jit(boundary_sums, static_argnames="tolerance")


def blobs(seed, shape, count=4, smooth=2.0):
    """Smooth random regions (count, *shape, 2)."""
    noise = np.random.default_rng(seed).normal(size=(count, *shape, 2))
    smoothed = ndimage.gaussian_filter(noise, (0, *[smooth] * len(shape), 0))
    return smoothed > 0.3 * smoothed.std()


def outline(region, valid):
    """Pixels of the region with a pixel that counts, and is not of it, among their neighbours: one by one."""
    found = np.zeros_like(region)
    for where in zip(*np.nonzero(region & valid), strict=True):
        for offset in np.ndindex(*[3] * region.ndim):
            other = tuple(w + o - 1 for w, o in zip(where, offset, strict=True))
            inside = all(0 <= o < n for o, n in zip(other, region.shape, strict=True))
            if inside and valid[other] and not region[other]:
                found[where] = True
    return found


def literal_f1(predicted, truth, valid, tolerance):
    ours, theirs = outline(predicted, valid), outline(truth, valid)
    if not ours.any() and not theirs.any():
        return None
    if not ours.any() or not theirs.any():
        return 0.0
    precision = (ndimage.distance_transform_edt(~theirs)[ours] <= tolerance).mean()
    recall = (ndimage.distance_transform_edt(~ours)[theirs] <= tolerance).mean()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@pytest.mark.parametrize(
    ("shape", "tolerance"), [((24, 20), 0.0), ((24, 20), 1.0), ((24, 20), 1.5), ((24, 20), 3.0), ((9, 8, 10), 1.5)]
)
def test_against_distances(shape, tolerance):
    truth, predicted = blobs(0, shape), blobs(0, shape) ^ (blobs(1, shape) & blobs(2, shape))
    predicted[0, ..., 0] = truth[0, ..., 0] = False  # neither has a boundary
    predicted[1, ..., 1] = True  # one of them has none
    valid = np.random.default_rng(3).uniform(size=truth.shape[:-1]) < 0.97
    score, there = jax.jit(boundary_f1, static_argnames="tolerance")(predicted, truth, valid, tolerance=tolerance)
    for i, k in np.ndindex(score.shape):
        expected = literal_f1(predicted[i, ..., k], truth[i, ..., k], valid[i], tolerance)
        assert bool(there[i, k]) == (expected is not None)
        assert float(score[i, k]) == pytest.approx(expected or 0.0, rel=1e-6)
    assert not there[0, 0] and there[1, 1] and score[1, 1] == 0
    assert 0.2 < float(score[2].mean()) < 1


def test_a_square_by_hand():
    square = np.zeros((1, 8, 8, 1), bool)
    square[0, 2:6, 2:6] = True
    edge = boundaries(jnp.asarray(square), jnp.ones((1, 8, 8), bool))
    assert int(edge.sum()) == 12 and not edge[0, 3:5, 3:5].any()
    # Cut by the frame: the two pixels on the frame lie on the boundary only where they are corners of the cut.
    cut = np.zeros((1, 8, 8, 1), bool)
    cut[0, :3, :3] = True
    edge = boundaries(jnp.asarray(cut), jnp.ones((1, 8, 8), bool))[0, ..., 0]
    np.testing.assert_array_equal(edge[:3, :3], [[0, 0, 1], [0, 0, 1], [1, 1, 1]])


def test_a_shift_within_the_tolerance_is_forgiven():
    truth = np.zeros((1, 16, 16, 1), bool)
    truth[0, 4:10, 4:10] = True
    valid = jnp.ones((1, 16, 16), bool)
    moved = np.roll(truth, 2, axis=2)
    assert float(boundary_f1(jnp.asarray(moved), jnp.asarray(truth), valid, tolerance=2.0)[0][0, 0]) == 1.0
    assert float(boundary_f1(jnp.asarray(moved), jnp.asarray(truth), valid, tolerance=1.0)[0][0, 0]) < 0.8


def test_sums_merge_and_report_means_over_images():
    truth, predicted = blobs(4, (16, 16), 5), blobs(5, (16, 16), 5)
    truth[2, ..., 1] = predicted[2, ..., 1] = False
    valid = np.ones(truth.shape[:-1], bool)
    valid[4] = False  # padding
    sums = SUMS(predicted, truth, valid, tolerance=1.0)
    parts = [SUMS(predicted[i : i + 1], truth[i : i + 1], valid[i : i + 1], tolerance=1.0) for i in (3, 1, 4, 0, 2)]
    np.testing.assert_allclose(sum(part["boundary"] for part in parts), sums["boundary"], rtol=1e-6)
    report = boundary_report(sums, ["a", "b"])
    for k, name in enumerate("ab"):
        scores = [literal_f1(predicted[i, ..., k], truth[i, ..., k], valid[i], 1.0) for i in range(5)]
        scores = np.array([s for s in scores if s is not None])
        assert report["boundary_images_of"][name] == len(scores) == (4 if name == "a" else 3)
        assert report["boundary_f1_of"][name] == pytest.approx(scores.mean(), rel=1e-6)
        low, high = report["boundary_interval_of"][name]
        t = {4: 3.18245, 3: 4.30265}[len(scores)]
        assert high - low == pytest.approx(
            min(scores.mean() + t * scores.std(ddof=1) / len(scores) ** 0.5, 1)
            - max(scores.mean() - t * scores.std(ddof=1) / len(scores) ** 0.5, 0),
            rel=1e-4,  # variance from float32 sums of squares
        )
    assert report["boundary_f1"] == pytest.approx(np.mean(list(report["boundary_f1_of"].values())))
    alone = boundary_report(sums, ["a", "b"], background=0)["boundary_f1"]
    assert alone == pytest.approx(report["boundary_f1_of"]["b"])


def test_images_without_objects():
    nothing = np.zeros((2, 6, 6, 1), bool)
    report = boundary_report(SUMS(nothing, nothing, np.ones((2, 6, 6), bool)))
    assert report == {
        "boundary_f1": 0.0,
        "boundary_f1_of": {"0": None},
        "boundary_interval_of": {"0": (0.0, 1.0)},
        "boundary_images_of": {"0": 0},
    }


def test_a_negative_tolerance():
    nothing = jnp.zeros((1, 2, 2, 1), bool)
    with pytest.raises(ValueError, match=r"tolerance is a distance in pixels, 0 or more; got -1"):
        boundary_f1(nothing, nothing, nothing[..., 0], tolerance=-1)
