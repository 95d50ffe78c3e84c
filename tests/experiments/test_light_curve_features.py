"""Features of light curves: against loops over observations, and what a light curve that says little gives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.errors import UserError
from zoo_datasets import light_curves, simulation, supernovae
from zoo_experiments.verbs.light_curve_features import light_curve_features, light_curve_table

BANDS = supernovae.BANDS


def simulated(number):
    return light_curves.simulate(simulation.generator("light_curves", "default", "validation", number), number)


def made(times, bands, fluxes, errors, night=0):
    return supernovae.light_curve(*supernovae.nights(times, bands, fluxes, errors), night)


def stacked(records):
    return {field: np.stack([record[field] for record in records]) for field in records[0]}


def literal(record, until):
    """The features of the bands by loops over the observations."""
    steps = [
        (time, step)
        for time, step in list(zip(record["times"].astype(float), record["sequence"].astype(float), strict=True))[
            : record["length"]
        ]
        if until is None or time <= until
    ]
    features = {}
    curves = {}
    for number, band in enumerate(BANDS):
        points = [(time, *step[3 * number : 3 * number + 2]) for time, step in steps if step[3 * number + 2] > 0]
        curves[band] = points
        found = [point for point in points if point[1] / point[2] > 3]
        best = (0.0, 0.0, 1.0)
        if found:
            best = max(found, key=lambda point: point[1])
        elif points:
            best = max(points, key=lambda point: point[1] / point[2])
        time, peak, error = best
        values = {"nights": len(points), "detections": len(found), "flux": peak, "snr": peak / error, "time": time}
        for name, part in (
            ("rise", [p for p in points if p[0] <= time]),
            ("decline", [p for p in points if p[0] >= time]),
        ):
            values[name] = 0.0
            if len(part) > 1 and peak > 0:
                t, f, e = np.array(part).T
                values[name] = np.polyfit(t, f, 1, w=1 / e)[0] / peak
        wide = [p[0] for p in found if p[1] > peak / 2]
        values["width"] = max(wide) - min(wide) if wide else 0.0
        positive = [(p[0], p[1]) for p in points if p[1] > 0]
        values["mean"] = values["spread"] = 0.0
        if positive:
            t, f = np.array(positive).T
            values["mean"] = np.average(t, weights=f)
            values["spread"] = np.sqrt(np.average((t - values["mean"]) ** 2, weights=f))
        for name, low, high in (("early", -99, 0.5), ("week", 0.5, 10), ("month", 10, 30), ("late", 30, 999)):
            part = [p for p in points if low < p[0] <= high]
            mean = np.average([p[1] for p in part], weights=[p[2] ** -2 for p in part]) if part else 0
            values[name] = np.clip(mean / peak, -5, 5) if peak > 0 else 0
        features |= {f"{name}_{band}": value for name, value in values.items()}
    return features


@settings(max_examples=40, deadline=None)
@given(number=st.integers(0, 10_000), until=st.sampled_from([None, 0.0, 10.0, 30.0]))
def test_features_are_those_of_a_loop(number, until):
    record = simulated(number)
    found, expected = light_curve_features(record, until), literal(record, until)
    for name, value in expected.items():
        # The roots and quotients of differences lose some digits of sixteen.
        assert found[name] == pytest.approx(value, rel=1e-6, abs=1e-7), name
    kept = [t for t in record["times"][: record["length"]].tolist() if until is None or t <= until]
    assert (found["nights"], found["first"], found["last"]) == (len(kept), kept[0], kept[-1])
    assert found["gap"] == pytest.approx(max(np.diff(kept), default=0))


def test_many_are_as_one_by_one():
    records = [simulated(number) for number in range(20)]
    table, names = light_curve_table(stacked(records), 20.0, redshift="host_photoz")
    assert table.shape == (20, len(names)) and np.isfinite(table).all()
    for record, row in zip(records, table, strict=True):
        alone = light_curve_features(record, 20.0, redshift="host_photoz")
        assert tuple(alone) == names
        np.testing.assert_array_equal(list(alone.values()), row)


def test_nights_after_the_limit_and_padding_are_not_looked_at():
    record = simulated(4)
    until = 12.0
    later = np.arange(supernovae.STEPS) >= (record["times"][: record["length"]] <= until).sum()
    assert 0 < (~later).sum() < record["length"]
    changed = {**record, "sequence": record["sequence"].copy()}
    changed["sequence"][later] = 1e4
    assert light_curve_features(changed, until) == light_curve_features(record, until)
    cut = {**record, "length": (~later).sum()}
    assert light_curve_features(cut) == light_curve_features(record, until)


def test_fluxes_in_another_unit_change_fluxes_only():
    record = simulated(7)
    scaled = {**record, "sequence": record["sequence"].copy()}
    scaled["sequence"][:, [0, 1, 3, 4, 6, 7, 9, 10]] *= 4
    one, two = light_curve_features(record), light_curve_features(scaled)
    for name, value in one.items():
        factor = 4 if name.startswith("flux_") else 1
        assert two[name] == pytest.approx(factor * value, rel=1e-9, abs=1e-12), name


def test_colours_are_magnitudes_at_and_after_the_brightest_night():
    times = np.repeat([0.0, 20.0, 50.0], 2) + np.tile([0, 0.1], 3)
    record = made(times, ["g", "r"] * 3, [200.0, 100.0, 20.0, 60.0, -3.0, 40.0], np.ones(6))
    features = light_curve_features(record)
    assert features["colour_g_r"] == pytest.approx(-2.5 * np.log10(2), rel=1e-6)
    assert features["later_colour_g_r"] == pytest.approx(2.5 * np.log10(3), rel=1e-6)
    assert features["last_colour_g_r"] == 4.0  # the limit: there is no light in g
    assert features["colour_i_z"] == 0.0  # nothing known
    assert features["width_g"] == 0.0 and features["width_r"] == pytest.approx(20, abs=0.1)


def test_redshift_is_added_with_the_luminosity_when_asked_for():
    record = {**made([0.0], ["r"], [50.0], [2.0]), "redshift": np.float32(0.25), "host_photoz": np.float32(0.5)}
    assert "redshift" not in light_curve_features(record)
    features = light_curve_features(record, redshift="host_photoz")
    assert features["redshift"] == 0.5
    assert features["luminosity_r"] == pytest.approx(2.5 * np.log10(50 * 0.25))
    assert features["luminosity_g"] == pytest.approx(2.5 * np.log10(0.1 * 0.25))
    assert light_curve_features(record, redshift="redshift")["redshift"] == 0.25


@pytest.mark.parametrize("flux", [30.0, 0.5, 0.0, -4.0])
def test_one_observation_gives_finite_features(flux):
    features = light_curve_features(made([3.0], ["i"], [flux], [1.0]), redshift=None)
    assert np.isfinite(list(features.values())).all()
    assert features["nights_i"] == 1 and features["flux_i"] == flux and features["nights"] == 1
    assert all(features[f"{name}_i"] == 0 for name in ("rise", "decline", "width", "spread"))
    assert all(features[f"nights_{band}"] == 0 for band in "grz")


def changed(record, field, place, value):
    array = np.array(record[field])
    array[place] = value
    return {**record, field: array}


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda r: r, {"until": -30.0}, r"at least one night, the first of which is -?\d.* light curve 0, got -30"),
        (lambda r: changed(r, "length", (), 0), {}, r"length should be 1 … 48, got 0 in light curve 0"),
        (lambda r: changed(r, "length", (), 49), {}, "length should be 1 … 48, got 49"),
        (lambda r: changed(r, "length", (), -1), {}, "length should be 1 … 48, got -1"),
        (lambda r: changed(r, "sequence", (1, 0), np.nan), {}, "sequence should be finite, got nan in step 1 of light"),
        (lambda r: changed(r, "times", 2, np.inf), {}, "times should be finite, got inf in step 2"),
        (lambda r: {**r, "sequence": r["sequence"][:, :12]}, {}, r"sequence .* shape \(48, 14\), got \(48, 12\)"),
        (lambda r: {"image": 1.0}, {}, "should have the field sequence, got image"),
        (lambda r: r, {"redshift": "z"}, r"redshift should name a field .* host_photoz.* got 'z'"),
        (lambda r: changed(r, "redshift", (), -9), {"redshift": "redshift"}, "finite redshift above 0, got -9.0 in"),
    ],
)
def test_what_is_no_light_curve_is_refused(change, options, message):
    with pytest.raises(UserError, match=message):
        light_curve_features(change(simulated(0)), **options)


def test_no_light_curves_are_refused():
    none = {field: values[:0] for field, values in stacked([simulated(0)]).items()}
    with pytest.raises(UserError, match="at least one light curve, got none"):
        light_curve_table(none)


def test_features_tell_the_types_apart():
    """A nearest-centroid rule on a few features beats guessing by far: they mean what they say."""
    records = stacked([simulated(number) for number in range(240)])
    table, names = light_curve_table(records, redshift="redshift")
    chosen = [names.index(name) for name in ("width_i", "late_i", "luminosity_i", "late_r", "later_colour_g_r")]
    x = (table[:, chosen] - table[:, chosen].mean(0)) / table[:, chosen].std(0)
    label, half = records["label"], 120
    centres = np.stack([x[:half][label[:half] == number].mean(0) for number in range(3)])
    guess = ((x[half:, None] - centres) ** 2).sum(-1).argmin(1)
    assert (guess == label[half:]).mean() > 0.6
