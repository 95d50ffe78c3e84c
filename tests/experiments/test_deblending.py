"""Fluxes of blends: sep on drawn galaxies, errors by hand, and the verb on tiny networks."""

import numpy as np
import pytest

from zoo.errors import UserError
from zoo_experiments.verbs.deblending import Measured, by_sep, error_curves, hot_and_cold, numbers_table, paired
from zoo_experiments.verbs.runs import open_run

RNG = np.random.default_rng(0)
Y, X = np.mgrid[:64, :64]


def star(row, column, flux, width=2.0):
    image = np.exp(-((Y - row) ** 2 + (X - column) ** 2) / (2 * width**2))
    return flux * image / (2 * np.pi * width**2)


def test_sep_measures_galaxies_that_are_apart():
    """A Gaussian of 2 px has 4 % of its light beyond 2.5 times its Kron radius; noise adds 1 %."""
    image = star(20, 22, 3000) + star(44, 40, 1500) + RNG.normal(0, 1, (64, 64))
    columns, rows, flux = hot_and_cold(image)
    order = np.argsort(-flux)
    np.testing.assert_allclose(rows[order], [20, 44], atol=0.3)
    np.testing.assert_allclose(columns[order], [22, 40], atol=0.3)
    np.testing.assert_allclose(flux[order], [3000, 1500], rtol=0.08)


def test_every_flux_goes_to_its_galaxy_and_what_is_not_found_has_none():
    images = np.stack([star(20, 22, 3000) + star(44, 40, 1500), star(20, 22, 3000), 0 * X]) + RNG.normal(
        0, 1, (3, 64, 64)
    )
    # In the first image the companion stands first; in the others it is not there.
    rows = np.array([[44.0, 20.0, -1], [20.0, 50.0, -1], [30.0, -1, -1]])
    columns = np.array([[40.0, 22.0, -1], [22.0, 50.0, -1], [30.0, -1, -1]])
    measured = by_sep(images, rows, columns)
    assert measured.found.tolist() == [2, 1, 0]
    np.testing.assert_allclose(measured.flux[0], [1500, 3000], rtol=0.08)
    np.testing.assert_allclose(measured.flux[1, 0], 3000, rtol=0.08)
    assert np.isnan(measured.flux[1, 1]) and np.isnan(measured.flux[2]).all()


TRUE = np.full((50, 2), 100.0)
GOOD = Measured("good", TRUE * RNG.uniform(0.95, 1.05, TRUE.shape), np.full(50, 2))
BAD = Measured("bad", np.where(np.arange(100).reshape(50, 2) % 4 == 0, np.nan, TRUE * 1.2), np.full(50, 1))


def test_the_table_counts_what_was_measured():
    table = numbers_table([GOOD, BAD], TRUE, 2)
    assert [row[1] for row in table.rows] == ["100.0", "75.0"]
    assert table.rows[1][2].startswith("20.0 (20.0–20.0)") and table.rows[0][2].startswith(("2.", "3."))
    assert [row[-1] for row in table.rows] == ["0.0 / 0.0 / 100.0 / 0.0", "0.0 / 100.0 / 0.0 / 0.0"]
    none = Measured("masks", np.full((50, 2), np.nan), np.full(50, 2))
    assert numbers_table([none], TRUE, 2).rows[0][1:5] == ("0.0", "—", "—", "—")


def test_networks_are_compared_on_the_same_galaxies():
    gain, low, high = paired(BAD, GOOD, TRUE)
    there = np.isfinite(BAD.flux)
    expected = 100 * (0.2 - np.abs(GOOD.flux / TRUE - 1))[there].mean()
    assert gain == pytest.approx(expected) and low < gain < high
    assert paired(GOOD, GOOD, TRUE) == (0, 0, 0)


def test_curves_are_drawn_for_those_that_measure():
    figure = error_curves([GOOD, BAD], TRUE, np.arange(50.0), label="separation (px)")
    (axes,) = figure.axes
    assert axes.get_xlabel() == "separation (px)" and len(axes.lines) == 2


@pytest.mark.slow
def test_the_verb_measures_with_networks_and_with_sep(zoo, tmp_path):
    for name, more in (
        ("blends_fluxes", ("widths=(4, 6)", "depths=(1, 1)")),
        ("blends_both", ("widths=(4, 6)", "depth=1")),
    ):
        outcome = zoo(
            *("train", name, "--data", "blends/tiny", "--options", *more, "--epochs", 1, "--batch-size", 8),
            *("--evaluations", 1, "--runs", tmp_path),
        )
        assert outcome.code == 0, outcome.err
    runs = [str(open_run(name, root=str(tmp_path)).folder) for name in ("blends_fluxes", "blends_both")]
    outcome = zoo("deblend", *runs, "--data", "blends/tiny", "--split", "test", "--runs", tmp_path)
    assert outcome.code == 0, outcome.err
    assert "sep, hot and cold" in outcome.out and "blends_both instead of blends_fluxes: mean error" in outcome.out
    written = {path.name for path in (tmp_path / "deblend" / "blends_tiny").iterdir()}
    assert written == {"fluxes.csv", "separation.png", "gap.png"}
    outcome = zoo("deblend", "--runs", tmp_path)
    assert outcome.code == 2 and "Name at least one run" in outcome.err
    with pytest.raises(UserError, match="There is no run"):
        open_run("nothing", root=str(tmp_path))
