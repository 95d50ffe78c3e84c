"""Features of light curves made by hand, for a random forest to be compared with networks on sequences.

For each band: how many nights, how bright, when, how fast up and down, how wide; and colours. What a light curve does
not tell, such as the decline of one that was seen once, is 0, and the numbers of nights say so.
"""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from zoo.errors import UserError
from zoo_datasets.supernovae import BANDS, CHANNELS, STEPS

# Signal-to-noise ratio above which a night counts as a detection.
DETECTED = 3.0
# Days since the brightest night of any band in which colours are measured; and days since the trigger in which the
# mean flux is compared with the largest one. The first is outside, the last inside.
COLOURS = {"colour": (-8.0, 8.0), "later_colour": (12.0, 35.0), "last_colour": (35.0, np.inf)}
WINDOWS = {"early": (-np.inf, 0.5), "week": (0.5, 10.0), "month": (10.0, 30.0), "late": (30.0, np.inf)}
# Colours are limited to this many magnitudes, relative fluxes to this number; of fluxes below the third the logarithm
# is not taken.
MOST_COLOUR, MOST, LEAST_FLUX = 4.0, 5.0, 0.1


def light_curve_features(
    record: Mapping[str, Any], until: float | None = None, *, redshift: str | None = None
) -> dict[str, float]:
    """Features of one light curve, all finite. Fluxes are in the record's unit, times in days since the trigger.

    Of each band B: `nights_B` and `detections_B` (S/N > 3), their numbers; `flux_B`, `snr_B` and `time_B`, flux,
    S/N and time of the brightest detection, or of the night with the largest S/N where nothing was detected; `rise_B`
    and `decline_B`, change per day of the flux relative to that one, the weighted least-squares slope over the nights
    up to it and from it on; `width_B`, days between the first and last detection above half of it; `mean_B` and
    `spread_B`, mean and standard deviation of time weighted by flux where that is positive; `early_B`, `week_B`,
    `month_B` and `late_B`, mean flux relative to the brightest up to the trigger, until 10 and 30 days after it, and
    later. Of neighbouring bands A and B: `colour_A_B`, `later_colour_A_B` and `last_colour_A_B`, magnitudes, of the
    mean fluxes less than 8 days from, 12 to 35 days and more than 35 days after the brightest night of any band. Of
    all: `nights`, `first`, `last`, `gap` (longest time between two nights).

    Args:
      record: with sequence (48, 14), times (48,) and length as the data sets of supernovae have them.
      until: days since the trigger; later nights are not looked at. None for all.
      redshift: name of the record's field that becomes the feature `redshift`, such as "host_photoz"; with it comes
        `luminosity_B`, 2.5 lg (flux_B · redshift²), flux_B being at least 0.1.

    Raises:
      UserError: arrays of another shape or not finite, a length that is not 1 … 48, no night up to `until`, or no
        such redshift.
    """
    features, names = light_curve_table({k: np.asarray(v)[None] for k, v in record.items()}, until, redshift=redshift)
    return dict(zip(names, features[0].tolist(), strict=True))


def light_curve_table(
    records: Mapping[str, np.ndarray], until: float | None = None, *, redshift: str | None = None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """`light_curve_features` of many: features (N, F) float64 and their names (F,).

    Args:
      records: field → array whose first axis is the record, N ≥ 1.
      until: as there.
      redshift: as there.

    Raises:
      UserError: as there, naming the light curve, counted from 0.
    """
    sequence, times, valid = _checked(records)
    if until is not None:
        late = np.flatnonzero(times[:, 0] > until)
        if len(late):
            raise UserError(
                f"until should leave at least one night, the first of which is {times[late[0], 0]:.1f} days since the "
                f"trigger in light curve {late[0]}, got {until:g}."
            )
        valid = valid & (times <= until)
    flux, error, seen = (sequence[..., start : 3 * len(BANDS) : 3] for start in range(3))
    curves = _Curves(flux, error, (seen > 0) & valid[..., None], times[..., None])
    columns = {
        f"{name}_{band}": values[:, number]
        for number, band in enumerate(BANDS)
        for name, values in curves.features().items()
    }
    every = np.arange(len(times))
    brightest = np.where(curves.found.any(1), curves.peak, 0).argmax(1)
    origin = curves.time[every, brightest][:, None]
    for name, window in COLOURS.items():
        mean = curves.mean(window, origin)
        for number, (one, two) in enumerate(itertools.pairwise(BANDS)):
            columns[f"{name}_{one}_{two}"] = _colour(mean[:, number], mean[:, number + 1])
    count = valid.sum(1)
    # Valid nights come first.
    gaps = np.where(valid[:, 1:], np.diff(times, axis=1), 0)
    columns |= {"nights": count, "first": times[:, 0], "last": times[every, count - 1], "gap": gaps.max(1)}
    if redshift is not None:
        values = _redshifts(records, redshift)
        columns["redshift"] = values
        for number, band in enumerate(BANDS):
            columns[f"luminosity_{band}"] = 2.5 * np.log10(np.maximum(curves.peak[:, number], LEAST_FLUX) * values**2)
    return np.stack([np.asarray(column, np.float64) for column in columns.values()], axis=1), tuple(columns)


class _Curves:
    """Light curves of N objects in four bands.

    Args:
      flux: (N, T, 4).
      error: (N, T, 4).
      seen: (N, T, 4), whether the others count.
      times: (N, T, 1).
    """

    def __init__(self, flux: np.ndarray, error: np.ndarray, seen: np.ndarray, times: np.ndarray) -> None:
        self.flux, self.seen, self.times = flux, seen, times
        self.weight = np.divide(1, error**2, out=np.zeros_like(flux), where=seen)
        self.snr = np.divide(flux, error, out=np.zeros_like(flux), where=seen)
        self.found = self.snr > DETECTED
        rank = np.where(seen, self.snr, -np.inf)
        rank = np.where(self.found.any(1, keepdims=True), np.where(self.found, flux, -np.inf), rank)
        best = rank.argmax(1)[:, None]
        self.peak, self.peak_snr, self.time = (
            np.where(seen.any(1), np.take_along_axis(values, best, 1)[:, 0], 0)
            for values in (flux, self.snr, np.broadcast_to(times, flux.shape))
        )

    def features(self) -> dict[str, np.ndarray]:
        """Name → (N, 4), see `light_curve_features`."""
        positive = np.where(self.seen, np.maximum(self.flux, 0), 0)
        mean = _ratio((positive * self.times).sum(1), positive.sum(1))
        variance = _ratio((positive * (self.times - mean[:, None]) ** 2).sum(1), positive.sum(1))
        wide = self.found & (self.flux > 0.5 * self.peak[:, None])
        first, last = np.where(wide, self.times, np.inf).min(1), np.where(wide, self.times, -np.inf).max(1)
        features = {
            "nights": self.seen.sum(1),
            "detections": self.found.sum(1),
            "flux": self.peak,
            "snr": self.peak_snr,
            "time": self.time,
            "rise": self.slope(self.times <= self.time[:, None]),
            "decline": self.slope(self.times >= self.time[:, None]),
            "width": np.subtract(last, first, out=np.zeros_like(first), where=wide.any(1)),
            "mean": mean,
            "spread": np.sqrt(variance),
        }
        for name, window in WINDOWS.items():
            features[name] = np.clip(_ratio(self.mean(window), self.peak), -MOST, MOST)
        return features

    def slope(self, chosen: np.ndarray) -> np.ndarray:
        """Weighted least-squares slope (N, 4) of the chosen nights (N, T, 4), of the largest flux per day.

        0 with fewer than two nights, or no positive flux.
        """
        weight = np.where(chosen, self.weight, 0)
        apart = self.times - _ratio((weight * self.times).sum(1), weight.sum(1))[:, None]
        several = (weight > 0).sum(1) > 1
        spread = np.where(several, (weight * apart**2).sum(1), 0)
        return _ratio((weight * apart * self.flux).sum(1), spread * self.peak)

    def mean(self, window: tuple[float, float], origin: np.ndarray | float = 0.0) -> np.ndarray:
        """Mean flux (N, 4), weighted by 1 / error², in a window of days after `origin` (N, 1); 0 without nights."""
        since = self.times[..., 0] - origin
        chosen = (since > window[0]) & (since <= window[1])
        weight = np.where(chosen[..., None], self.weight, 0)
        return _ratio((weight * self.flux).sum(1), weight.sum(1))


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Quotient, 0 where the denominator is not positive."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def _colour(blue: np.ndarray, red: np.ndarray) -> np.ndarray:
    """Magnitude (N,) in the blue band less that in the red one; 0 where neither has positive flux."""
    most = np.maximum(blue, red)
    least = 10 ** (-0.4 * MOST_COLOUR) * np.where(most > 0, most, 1)
    return -2.5 * np.log10(np.maximum(blue, least) / np.maximum(red, least))


def _checked(records: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sequences (N, 48, 14) and times (N, 48) float64, and which steps are valid (N, 48)."""
    arrays = {}
    for name, shape in (("sequence", (STEPS, len(CHANNELS))), ("times", (STEPS,)), ("length", ())):
        if name not in records:
            raise UserError(f"a light curve should have the field {name}, got {', '.join(records) or 'none'}.")
        array = arrays[name] = np.asarray(records[name])
        if array.shape[1:] != shape:
            raise UserError(f"{name} of a light curve should have the shape {shape}, got {array.shape[1:]}.")
    length = arrays["length"]
    if not len(length):
        raise UserError("records should be at least one light curve, got none.")
    bad = np.flatnonzero((length < 1) | (length > STEPS))
    if len(bad):
        raise UserError(f"length should be 1 … {STEPS}, got {length[bad[0]]} in light curve {bad[0]}.")
    valid = np.arange(STEPS) < length[:, None]
    for name in ("sequence", "times"):
        arrays[name] = arrays[name].astype(np.float64)
        bad = np.argwhere(~np.isfinite(arrays[name]))
        if len(bad):
            raise UserError(
                f"{name} should be finite, got {arrays[name][tuple(bad[0])]} in step {bad[0][1]} of light curve "
                f"{bad[0][0]}. Leave failed observations out."
            )
    return arrays["sequence"], arrays["times"], valid


def _redshifts(records: Mapping[str, np.ndarray], field: str) -> np.ndarray:
    if field not in records:
        raise UserError(f"redshift should name a field of the light curves, {', '.join(records)}, got {field!r}.")
    values = np.asarray(records[field], np.float64)
    bad = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
    if len(bad):
        raise UserError(f"{field} should be a finite redshift above 0, got {values[bad[0]]} in light curve {bad[0]}.")
    return values
