"""`zoo results`: the scores of the registered experiments over seeds, kept in `results.json` beside the experiments.

Only runs whose settings are those of the registered experiment, but for the seed, enter; a test holds the stored
settings against the registered ones, so that no score outlives its recipe.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import zoo_experiments
from zoo.errors import UserError, unknown
from zoo_experiments import experiments
from zoo_experiments.verbs.evaluating import value_of
from zoo_experiments.verbs.experiment import Experiment, as_json, differences, from_json
from zoo_experiments.verbs.runs import warn, write_json
from zoo_experiments.verbs.tables import Table

STORE = Path(zoo_experiments.__file__).with_name("results.json")
# Metrics of which less is better.
LESS = ("nll", "bits", "ece", "rmse", "mae", "bias", "sigma_nmad", "outliers")


def stored(path: Path = STORE) -> dict[str, Any]:
    """Everything that is stored: experiment → its entry (`collect`)."""
    return json.loads(path.read_text()) if path.exists() else {}


def settings_of(experiment: Experiment) -> dict[str, Any]:
    """The settings that decide a score, without the seed and what is only shown."""
    left_out = ("seed", "title", "layer", "score", "baseline", "properties", "evaluations")
    return {name: value for name, value in as_json(experiment).items() if name not in left_out}


def score_of(experiment: Experiment, results: Mapping[str, Any]) -> str:
    """The metric that stands for an experiment, given one of its results."""
    if experiment.score:
        return experiment.score
    return next((name for name in ("dice", "accuracy") if value_of(results, name, "validation")), "r2")


def collect(names: Sequence[str], *, runs: Path, path: Path = STORE) -> dict[str, Any]:
    """Gather finished runs of experiments below `runs` into the store; entries of other experiments stay.

    Args:
        names: experiments.
        runs: folder of all runs.
        path: the store.

    Raises:
        UnknownName: no such experiment.
        UserError: an experiment has no finished run with its registered settings.
    """
    known, found = experiments(), {}
    for name in names:
        if name not in known:
            raise unknown("experiment", name, known)
        found[name] = _entry(name, known[name], runs)
    everything = {**stored(path), **found}
    order = [*known, *(key for key in everything if key not in known)]
    write_json(path, {key: everything[key] for key in order if key in everything})
    return found


def _entry(name: str, experiment: Experiment, runs: Path) -> dict[str, Any]:
    registered = settings_of(experiment)
    rows, last = [], {}
    for file in sorted((runs / name).glob("*/results.json")):
        config = json.loads(file.with_name("config.json").read_text()) if file.with_name("config.json").exists() else {}
        if not config:
            continue
        # Options that are younger than the run have their defaults in it.
        settings = settings_of(from_json(config["settings"]))
        if lines := differences(registered, settings):
            warn(f"{file.parent} has other settings than {name} and is left out: {'; '.join(lines)}")
            continue
        results = json.loads(file.read_text())
        if results["step"] != results["steps"] and experiment.select == "last":
            warn(f"{file.parent} is not finished and is left out.")
            continue
        score = score_of(experiment, results)
        row = {"seed": results["seed"], "minutes": round(results["training_seconds"] / 60, 2)}
        for split in ("validation", "test"):
            if one := value_of(results, score, split):
                row[split] = {"value": one["value"], "interval": one["interval"], "count": one["count"]}
        rows.append(row)
        last = results
    if not rows:
        raise UserError(f"{runs / name} holds no finished run with the settings of {name}: `zoo train {name}` first.")
    return {
        "score": score_of(experiment, last),
        "parameters": last["parameters"],
        "runs": sorted(rows, key=lambda row: row["seed"]),
        # One fold of many is no score to set beside the mean over all.
        "baseline": None if "{seed}" in experiment.data else _baseline(name, score_of(experiment, last), runs),
        "machine": last["machine"],
        "versions": {key: last["versions"][key] for key in ("python", "jax", "flax")},
        "settings": registered,
    }


def _baseline(name: str, score: str, runs: Path) -> dict[str, Any] | None:
    """The baseline model that is best on the validation split, with its scores; None where none was fitted."""
    file = runs / name / "baseline" / "baselines.json"
    if not file.exists():
        return None
    found = json.loads(file.read_text())
    sign = -1 if score in LESS else 1
    best = max(found["models"], key=lambda model: sign * value_of(model, score, "validation")["value"])
    values = {split: value_of(best, score, split) for split in ("validation", "test")}
    return {
        "name": best["name"],
        "inputs": found["inputs"],
        **{split: {"value": v["value"], "interval": v["interval"]} for split, v in values.items() if v},
    }


def results_table(path: Path = STORE, *, links: bool = False) -> Table:
    """Experiment, model with parameters, score over seeds on the test split, baseline, minutes for one training."""
    known, rows = experiments(), []
    for name, entry in stored(path).items():
        if name not in known:
            continue
        split = "test" if all("test" in run for run in entry["runs"]) else "validation"
        values = [run[split]["value"] for run in entry["runs"]]
        minutes = [run["minutes"] for run in entry["runs"]]
        base = entry["baseline"]
        beside = f"{base[split]['value']:.3f} ({base['name']}, {base['inputs']})" if base and split in base else "—"
        score = spread(values, entry["runs"][0][split]["interval"]) + ("" if split == "test" else " (validation)")
        rows.append(
            (
                f"`{name}`" if links else name,
                f"{known[name].model}, {entry['parameters']:,}",
                entry["score"],
                score,
                f"{entry['runs'][0][split]['count']:,}",
                beside,
                f"{min(minutes):.1f} – {max(minutes):.1f}",
            )
        )
    columns = ("experiment", "model, parameters", "score", "mean ± spread (seeds)", "images", "baseline", "minutes")
    return Table(columns, rows, ("images", "minutes"))


def spread(values: Sequence[float], interval: Sequence[float]) -> str:
    """`0.865 ± 0.005 (3)`: mean, standard deviation over seeds and their number; of one its 95 % interval."""
    if len(values) == 1:
        return f"{values[0]:.3f}, {interval[0]:.3f} – {interval[1]:.3f} (1)"
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f} ({len(values)})"
