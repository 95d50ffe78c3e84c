"""`zoo deblend`: fluxes of blended galaxies by networks and by SExtractor's algorithm, side by side (E7).

Every method measures the flux of the central galaxy and of the companion in the same images. Networks always give two;
`sep` (Barbary 2016, https://doi.org/10.21105/joss.00058) gives those it detects, in a cold run that does not shred and
a hot one that separates, joined as by Barden+12 (https://arxiv.org/abs/1203.1831); its settings are Boucaud+20's.
"""

import csv
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from zoo import train
from zoo.errors import UserError
from zoo_datasets.loading.catalogue import load
from zoo_experiments.verbs import pixel_figures
from zoo_experiments.verbs.checks import extra
from zoo_experiments.verbs.experiment import Setup, setup
from zoo_experiments.verbs.pixels import RESAMPLES
from zoo_experiments.verbs.runs import Run
from zoo_experiments.verbs.tables import Table

GALAXIES = ("central", "companion")


@dataclass(frozen=True)
class Settings:
    """Detection by `sep`: `threshold` in units of the noise, `area` in pixels, and of deblending."""

    threshold: float
    area: int
    contrast: float
    levels: int = 32


COLD = Settings(threshold=5.0, area=10, contrast=0.01)
HOT = Settings(threshold=4.0, area=6, contrast=1e-4, levels=64)
# A detection belongs to a galaxy whose centre is at most this many pixels away.
REACH = 4.0
# Kron's radius times this; a circle of this many pixels where Kron's radius is smaller (SExtractor's 2.5 and 3.5 / 2).
KRON, SMALLEST = 2.5, 1.75
# A predicted mask with fewer pixels is no galaxy.
LEAST_PIXELS = 5
BINS = 6


@dataclass(frozen=True)
class Measured:
    """Fluxes by one method.

    Attributes:
        name: of the method.
        flux: (N, 2) of central and companion; NaN where it was not found, or no such number is given.
        found: (N,) number of galaxies that it sees.
    """

    name: str
    flux: np.ndarray
    found: np.ndarray


def by_network(run: Run, made: Setup, split: str, name: str) -> Measured:
    """What a network says: fluxes where it was trained on them, galaxies where it was trained on masks."""
    source = made.data[split]
    raw, _ = made.evaluation()(run.weights(made).state.averaged, source)
    flux, found = np.full((len(source), 2), np.nan), np.full(len(source), 2)
    for part, outputs in made.parts(raw):
        predictions = np.asarray(part.task.predict(outputs))
        if part.outputs.masks:
            found = ((predictions > 0.5).sum((1, 2)) >= LEAST_PIXELS).sum(1)
        else:
            flux = 10.0**predictions
    return Measured(name, flux, found)


def by_sep(images: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> Measured:
    """What `sep` measures: Kron fluxes of its detections, each given to the nearest galaxy.

    Args:
        images: (N, H, W) in units of the sky's standard deviation.
        rows: (N, 2 or more) centres of central, companion and others, pixels; negative where there is none.
        columns: the same.
    """
    flux, found = np.full((len(images), 2), np.nan), np.zeros(len(images), int)
    for i, image in enumerate(images):
        x, y, value = hot_and_cold(np.ascontiguousarray(image, np.float64))
        found[i] = len(x)
        there = rows[i] >= 0
        distance = np.hypot(rows[i][there, None] - y, columns[i][there, None] - x)
        numbers = np.flatnonzero(there)
        for true, detected in zip(*linear_sum_assignment(np.minimum(distance, REACH + 1)), strict=True):
            if distance[true, detected] <= REACH and numbers[true] < len(GALAXIES):
                flux[i, numbers[true]] = value[detected]
    return Measured("sep, hot and cold", flux, found)


def hot_and_cold(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Columns, rows and Kron fluxes of detections: all cold ones, and hot ones outside of the ellipses of those."""
    sep = extra("sep", what="Comparisons with SExtractor", package="sep", group="baselines")
    cold, hot = (detect(sep, image, settings) for settings in (COLD, HOT))
    outside = np.ones(len(hot), bool)
    for one in cold:
        dx, dy = hot["x"] - one["x"], hot["y"] - one["y"]
        inside = one["cxx"] * dx**2 + one["cyy"] * dy**2 + one["cxy"] * dx * dy <= KRON**2
        outside &= ~inside
    every = np.concatenate([cold, hot[outside]])
    if not len(every):
        return np.zeros(0), np.zeros(0), np.zeros(0)
    shape = every["x"], every["y"], every["a"], every["b"], every["theta"]
    radius, _ = sep.kron_radius(image, *shape, 6.0)
    round_enough = radius * np.sqrt(every["a"] * every["b"]) >= SMALLEST
    value, _, _ = sep.sum_ellipse(image, *shape, KRON * np.maximum(radius, 0.1), subpix=1)
    circle, _, _ = sep.sum_circle(image, every["x"], every["y"], SMALLEST, subpix=1)
    return every["x"], every["y"], np.where(round_enough, value, circle)


def detect(sep: Any, image: np.ndarray, settings: Settings) -> np.ndarray:
    """`sep.extract` on an image whose noise is 1, ellipses made valid."""
    found = sep.extract(
        image,
        settings.threshold,
        err=1.0,
        minarea=settings.area,
        deblend_nthresh=settings.levels,
        deblend_cont=settings.contrast,
    )
    found = found[np.isfinite(found["a"]) & np.isfinite(found["b"])]
    found["theta"] = np.clip(found["theta"], -np.pi / 2, np.pi / 2)
    return found


def numbers_table(methods: Sequence[Measured], flux: np.ndarray, sources: int) -> Table:
    """For every method: share of the galaxies with a flux, error of those, and how many galaxies it sees.

    Args:
        methods: what was measured.
        flux: (N, 2) true fluxes, 0 where there is no galaxy.
        sources: galaxies that are there in every image.
    """
    rows = []
    for method in methods:
        there = flux > 0
        counts = [np.mean(method.found == n) for n in range(3)]
        seen = " / ".join(f"{100 * share:.1f}" for share in (*counts, 1 - sum(counts)))
        measured = np.isfinite(method.flux) & there
        if measured.any():
            errors = train.flux_errors(method.flux[measured], flux[measured])
            relative = np.abs(errors["relative"])
            error = f"{100 * np.median(relative):.1f} ({_interval(method, flux, np.median)})"
            mean = f"{100 * relative.mean():.1f} ({_interval(method, flux, np.mean)})"
            wild = f"{100 * np.mean(~(np.abs(errors['magnitude']) <= 0.75)):.1f}"
        else:
            error = mean = wild = "—"
        rows.append((method.name, f"{100 * measured.sum() / there.sum():.1f}", error, mean, wild, seen))
    columns = (
        "method",
        "measured, %",
        "median error, % (95 %)",
        "mean error, % (95 %)",
        "beyond 0.75 mag, %",
        "sees 0 / 1 / 2 / more, %",
    )
    return Table(columns, rows, columns[1:2], note=f"{len(flux):,} images of {sources} galaxies each.")


def _interval(method: Measured, flux: np.ndarray, statistic: Any) -> str:
    """Percentile bootstrap over images."""
    rng, values = np.random.default_rng(0), []
    for _ in range(RESAMPLES):
        chosen = rng.integers(0, len(flux), len(flux))
        f, t = method.flux[chosen], flux[chosen]
        kept = np.isfinite(f) & (t > 0)
        values.append(100 * statistic(np.abs(f[kept] / t[kept] - 1)))
    low, high = np.percentile(values, [2.5, 97.5])
    return f"{low:.1f}–{high:.1f}"


def paired(a: Measured, b: Measured, flux: np.ndarray) -> tuple[float, float, float]:
    """How much smaller the mean relative error of `b` is than that of `a` on the same galaxies, with its 95 % interval.

    In percent of the flux; positive where `b` is better. Bootstrap over images.
    """
    there = np.isfinite(a.flux) & np.isfinite(b.flux) & (flux > 0)
    gain = np.where(
        there, np.abs(a.flux / np.where(there, flux, 1) - 1) - np.abs(b.flux / np.where(there, flux, 1) - 1), 0
    )
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(RESAMPLES):
        chosen = rng.integers(0, len(flux), len(flux))
        draws.append(100 * gain[chosen].sum() / there[chosen].sum())
    low, high = np.percentile(draws, [2.5, 97.5])
    return 100 * gain.sum() / there.sum(), float(low), float(high)


def error_curves(
    methods: Sequence[Measured], flux: np.ndarray, prop: np.ndarray, *, label: str
) -> pixel_figures.Figure:
    """Median relative error of the fluxes against a property of the pair, with bootstrap bands over images.

    Args:
        methods: what was measured.
        flux: (N, 2) true fluxes.
        prop: (N,) the property.
        label: of the property, with its unit.
    """
    edges = np.quantile(prop, np.linspace(0, 1, BINS + 1))
    places = (edges[1:] + edges[:-1]) / 2
    rng, lines = np.random.default_rng(0), {}
    for method in methods:
        if not np.isfinite(method.flux).any():
            continue
        relative = np.where(flux > 0, np.abs(method.flux / np.where(flux > 0, flux, 1) - 1), np.nan)
        rows = []
        for k in range(BINS):
            last = prop <= edges[k + 1] if k == BINS - 1 else prop < edges[k + 1]
            members = np.flatnonzero((prop >= edges[k]) & last)
            draws = [np.nanmedian(relative[rng.choice(members, members.size)]) for _ in range(RESAMPLES)]
            rows.append((np.nanmedian(relative[members]), *np.percentile(draws, [2.5, 97.5])))
        lines[method.name] = tuple(100 * np.array(rows).T)
    return pixel_figures.curves(places, lines, x_label=label, y_label="median error of the flux (%)")


def compare(runs: Sequence[Run], *, data: str, split: str, out: Path) -> tuple[Table, list[str]]:
    """Measure with every run and with `sep`; writes `fluxes.csv`, `separation.png` and `gap.png` into `out`.

    Args:
        runs: trained networks.
        data: name of the data.
        split: which records.
        out: folder.

    Returns:
        The table, and lines on every pair of networks that give fluxes.

    Raises:
        UserError: data without blended galaxies.
    """
    setups = [
        setup(dataclasses.replace(run.experiment, data=data), splits=(split,), outputs=run.outputs) for run in runs
    ]
    # Several runs of one experiment are told apart.
    once = [run.name for run in runs]
    names = [
        name if once.count(name) == 1 else f"{name}/{run.folder.name}" for name, run in zip(once, runs, strict=True)
    ]
    arrays = setups[0].data[split].arrays
    needed = ("image", "rows", "columns", "flux_central", "flux_companion", "separation", "gap", "sources")
    if missing := [name for name in needed if name not in arrays]:
        raise UserError(f"{data} has no {', '.join(missing)}: fluxes of blended galaxies are compared on `blends`.")
    flux = np.stack([arrays[f"flux_{name}"] for name in GALAXIES], axis=1).astype(np.float64)
    methods = [by_network(run, made, split, name) for run, made, name in zip(runs, setups, names, strict=True)]
    source = load(data).splits[split]
    images = np.stack([source[i]["image"][..., 0] for i in range(len(source))])
    methods.append(by_sep(images, arrays["rows"], arrays["columns"]))
    out.mkdir(parents=True, exist_ok=True)
    with (out / "fluxes.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            ["record", *(f"true {g}" for g in GALAXIES), *(f"{m.name} {g}" for m in methods for g in GALAXIES)]
        )
        for i, row in enumerate(flux):
            writer.writerow([i, *(f"{v:.6g}" for v in (*row, *(v for m in methods for v in m.flux[i])))])
    if np.ptp(arrays["separation"]) > 0:
        for name, label in (
            ("separation", "separation (px)"),
            ("gap", "magnitude of the companion − that of the central"),
        ):
            error_curves(methods, flux, arrays[name], label=label).savefig(out / f"{name}.png", dpi=130)
    lines = []
    networks = [method for method in methods[:-1] if np.isfinite(method.flux).any()]
    for i, first in enumerate(networks):
        for second in networks[i + 1 :]:
            gain, low, high = paired(first, second, flux)
            lines.append(
                f"{second.name} instead of {first.name}: mean error smaller by {gain:.2f} % of the flux "
                f"(95 % {low:.2f} to {high:.2f})"
            )
    return numbers_table(methods, flux, int(np.median(arrays["sources"]))), lines
