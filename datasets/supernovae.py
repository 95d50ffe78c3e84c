"""What the data sets of supernovae share: from single observations to one step a night, the trigger, and the record.

Fluxes are in FLUXCAL = 10^(−0.4 (m − 27.5)), the unit of the Supernova Photometric Classification Challenge (Kessler
et al. 2010): magnitude 27.5 is 1, magnitude 22.5 is 100. They may be negative, as noise around a faint source is.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from zoo_datasets import simulation
from zoo_datasets.loading.records import DataError

BANDS = ("g", "r", "i", "z")
# Nights in a record. Of the challenge's light curves, 47 at most are left.
STEPS = 48
# Observations within half a day of a night's first one belong to it: no night is longer, no day shorter than that.
NIGHT = 0.5
# The trigger is the second night with a signal-to-noise ratio above this; nights from BEFORE days before it are kept.
TRIGGER = 5.0
BEFORE = 20.0

_PER_BAND = {"flux": "FLUXCAL", "error": "FLUXCAL", "seen": "0, 1"}
CHANNELS: dict[str, str] = {
    **{f"{name}_{band}": unit for band in BANDS for name, unit in _PER_BAND.items()},
    "since_last": "days",
    "since_trigger": "days",
}
SEQUENCE_UNITS = (
    f"sequence: float32, {STEPS} nights × {len(CHANNELS)} channels: for each of the bands g, r, i, z flux and its "
    "standard error in FLUXCAL = 10^(−0.4 (m − 27.5)), and seen, 1 where that band was observed in that night, else 0 "
    "with flux and error 0; then days since the night before (0 in the first) and days since the trigger. "
    f"times: days since the trigger, which is the second night with S/N > {TRIGGER:g} in a band; nights from "
    f"{BEFORE:g} days before it on. length: number of nights; what follows is 0. "
)
SEQUENCE_FEATURES = {
    "sequence": f"({STEPS}, {len(CHANNELS)}) float32, one step a night",
    "times": f"({STEPS},) float32, days since the trigger",
    "length": "int32, number of nights",
}


def nights(
    times: np.ndarray, bands: Sequence[str] | np.ndarray, fluxes: np.ndarray, errors: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """One step for each night of the observations of one object.

    Observations of one band in one night become one: their mean, weighted by 1 / error².

    Args:
      times: (N,) days, not descending.
      bands: (N,) names, of `BANDS`.
      fluxes: (N,) in FLUXCAL.
      errors: (N,) their standard errors, in FLUXCAL.

    Returns:
      steps (M, 12) float64: flux, error and seen (0, 1) of each band, in the order of `CHANNELS`, 0 where the band was
      not observed; times (M,) float64, the mean time of the night's observations, ascending.

    Raises:
      DataError: no observation, arrays of different lengths, values that are not finite, an error that is not above 0,
        times that descend or a band that is not known; the text names the observation, counted from 0.
    """
    times, fluxes, errors = (np.asarray(values, np.float64) for values in (times, fluxes, errors))
    bands = np.asarray(bands)
    _check(times, bands, fluxes, errors)
    night = _night_numbers(times)
    cell = night * len(BANDS) + np.array([BANDS.index(band) for band in bands.tolist()])
    size = (night[-1] + 1) * len(BANDS)
    weight = np.bincount(cell, errors**-2.0, size)
    total = np.bincount(cell, fluxes * errors**-2.0, size)
    seen = weight > 0
    steps = np.zeros((size, len(_PER_BAND)))
    steps[seen] = np.stack([total[seen] / weight[seen], weight[seen] ** -0.5, np.ones(seen.sum())], axis=1)
    mean_times = np.bincount(night, times) / np.bincount(night)
    return steps.reshape(-1, len(BANDS) * len(_PER_BAND)), mean_times


def _check(times: np.ndarray, bands: np.ndarray, fluxes: np.ndarray, errors: np.ndarray) -> None:
    shapes = {"times": times.shape, "bands": bands.shape, "fluxes": fluxes.shape, "errors": errors.shape}
    if times.ndim != 1 or len(set(shapes.values())) > 1:
        raise DataError(
            "times, bands, fluxes and errors should be lists of one length, an entry for each observation, got "
            + ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            + "."
        )
    if not len(times):
        raise DataError("a light curve should have at least one observation, got none. Leave the object out.")
    for name, values in (("times", times), ("fluxes", fluxes), ("errors", errors)):
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise DataError(
                f"{name} should be finite, got {values[bad[0]]} in observation {bad[0]} ({len(bad)} of {len(times)}). "
                "Leave failed observations out."
            )
    bad = np.flatnonzero(errors <= 0)
    if len(bad):
        raise DataError(
            f"errors should be above 0, got {errors[bad[0]]:g} in observation {bad[0]}. They are standard errors of "
            "the fluxes, in the same unit; leave out observations without one."
        )
    bad = np.flatnonzero(np.diff(times) < 0) + 1
    if len(bad):
        raise DataError(
            f"times should ascend, got {times[bad[0]]:g} in observation {bad[0]} after {times[bad[0] - 1]:g}. Sort the "
            "observations of each object by time."
        )
    bad = np.flatnonzero(~np.isin(bands, BANDS))
    if len(bad):
        raise DataError(
            f"bands should be of {', '.join(BANDS)}, got {bands[bad[0]]} in observation {bad[0]}. Leave out the "
            "observations in other bands: nothing is known of them."
        )


def _night_numbers(times: np.ndarray) -> np.ndarray:
    """Night (N,) of each observation, 0, 1, … without gaps."""
    numbers = np.zeros(len(times), int)
    first = times[0]
    for place, time in enumerate(times[1:].tolist(), start=1):
        new = time > first + NIGHT
        numbers[place] = numbers[place - 1] + new
        first = time if new else first
    return numbers


def signal_to_noise(steps: np.ndarray) -> np.ndarray:
    """Flux over error (…, 4) of each band in the steps (…, ≥ 12) of `nights`; 0 where it was not observed."""
    flux, error, seen = (steps[..., start : 3 * len(BANDS) : 3] for start in range(3))
    return np.divide(flux, error, out=np.zeros_like(flux), where=seen > 0)


def peak_flux(steps: np.ndarray) -> float:
    """Largest flux of a band in a night of the steps (M, 12) whose signal-to-noise ratio is above `TRIGGER`, or 0."""
    flux = steps[:, : 3 * len(BANDS) : 3]
    return float(flux[signal_to_noise(steps) > TRIGGER].max(initial=0.0))


def trigger(steps: np.ndarray) -> int | None:
    """Number of the second night of the steps (M, 12) in which a band's signal-to-noise ratio is above `TRIGGER`.

    None where there are not two.
    """
    found = np.flatnonzero(signal_to_noise(steps).max(axis=1) > TRIGGER)
    return int(found[1]) if len(found) > 1 else None


def light_curve(steps: np.ndarray, times: np.ndarray, night: int) -> dict[str, Any]:
    """The fields sequence (48, 14), times (48,) and length of a record, float32 and int32.

    Args:
      steps: (M, 12), see `nights`.
      times: (M,) days.
      night: number of the one that times are counted from: that of the trigger. Nights from `BEFORE` days before it
        on are kept, `STEPS` at most.
    """
    since = times - times[night]
    kept = np.flatnonzero(since >= -BEFORE)[:STEPS]
    length, since = len(kept), since[kept]
    sequence = np.zeros((STEPS, len(CHANNELS)), np.float32)
    sequence[:length] = np.column_stack([steps[kept], np.diff(since, prepend=since[0]), since])
    padded = np.zeros(STEPS, np.float32)
    padded[:length] = since
    return {"sequence": sequence, "times": padded, "length": np.int32(length)}


def fields() -> dict[str, Any]:
    """Field → TFDS feature of sequence, times and length."""
    return {
        "sequence": simulation.tensor(STEPS, len(CHANNELS)),
        "times": simulation.tensor(STEPS),
        "length": tfds.features.Scalar(np.int32),
    }


def properties(record: dict[str, Any]) -> dict[str, np.float32]:
    """The largest signal-to-noise ratio of one band in one night, and the number of such observations, of a record."""
    steps = record["sequence"][: record["length"]]
    observations = steps[:, 2 : 3 * len(BANDS) : 3].sum()
    return {
        "peak_snr": np.float32(signal_to_noise(steps).max()),
        "observations": np.float32(observations),
    }


def magnitude_to_flux(magnitude: np.ndarray | float) -> np.ndarray | float:
    """FLUXCAL of an AB magnitude."""
    return np.exp(-0.4 * math.log(10) * (magnitude - 27.5))
