"""Run folders: `runs/EXPERIMENT/NAME/` with configuration, log, results, checkpoints and report."""

import dataclasses
import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from zoo import train
from zoo.errors import UserError, closest
from zoo_experiments.verbs.experiment import Experiment, Setup, as_json, differences, from_json, make, setup
from zoo_experiments.verbs.fields import Field
from zoo_experiments.verbs.outputs import Outputs, outputs_from_json

_PACKAGES = (
    "symmetry-zoo",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "grain",
    "tensorflow-datasets",
    "numpy",
)


@dataclass(frozen=True)
class Run:
    """A run on disk.

    Attributes:
        folder: where it is.
        name: name of the experiment.
        experiment: its settings.
        outputs: what the outputs of its network mean.
        shape: of its preprocessed images, sequences, graphs or points, as in `Setup`.
        field: what its network takes: images, sequences, graphs or sets of points.
        channels: name of each channel of its sequences, nodes or points → its unit.
        vocabulary: what the whole numbers of its sequences of symbols stand for.
    """

    folder: Path
    name: str
    experiment: Experiment
    outputs: Outputs
    shape: tuple[int, ...]
    field: Field = "image"
    channels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    vocabulary: tuple[str, ...] = ()

    @property
    def class_names(self) -> tuple[str, ...]:
        """Classes of the data it was trained on; empty for regression."""
        return self.outputs.class_names

    def file(self, name: str) -> Path:
        """Path of a file of the run."""
        return self.folder / name

    def read(self, name: str) -> dict[str, Any]:
        """A JSON file of the run, `{}` when it is not there."""
        return json.loads(self.file(name).read_text()) if self.file(name).exists() else {}

    def write(self, name: str, values: Any) -> None:
        """Write a JSON file of the run, whole or not at all."""
        write_json(self.file(name), values)

    def setup(self, *, splits: tuple[str, ...] = ()) -> Setup:
        """The functions of the run, with the splits asked for in memory."""
        if splits:
            return setup(self.experiment, splits=splits, outputs=self.outputs)
        return make(self.experiment, self.outputs, self.shape, **_of_inputs(self))

    def require_vocabulary(self, data: str, vocabulary: Sequence[str]) -> None:
        """Refuse sequences of symbols whose numbers stand for other symbols than those the network was trained on.

        Raises:
            UserError: says both.
        """
        if self.vocabulary and tuple(vocabulary) != self.vocabulary:
            raise UserError(
                f"The numbers of {data} stand for {len(vocabulary)} symbols {''.join(vocabulary)!r}, the network of "
                f"{self.folder} was trained on {len(self.vocabulary)} symbols {''.join(self.vocabulary)!r}; they "
                "should be the same."
            )

    def weights(self, made: Setup) -> train.Restored:
        """The weights the run keeps (`select`), as a restored state.

        Raises:
            UserError: nothing was saved yet.
        """
        with train.Checkpoints(self.file("checkpoints"), say=warn) as checkpoints:
            restored = checkpoints.restore(made.state(), best=self.experiment.select == "best")
        if restored is None:
            raise UserError(f"{self.folder} holds no checkpoint yet: `zoo train {self.name}` makes one.")
        return restored


def _of_inputs(made: Run | Setup) -> dict[str, Any]:
    """What is said of inputs where they are no images."""
    return {name: getattr(made, name) for name in ("field", "channels", "vocabulary")}


def warn(text: str) -> None:
    """One line on standard error."""
    print(text, file=sys.stderr, flush=True)


def start_run(folder: Path, name: str, made: Setup) -> Run:
    """Open a run folder for training: a new one, or the one that the same configuration made before.

    Raises:
        UserError: the folder belongs to another configuration; says what differs.
    """
    config = {
        "experiment": name,
        "settings": as_json(made.experiment),
        "data": {
            **made.outputs.as_json(),
            "image_shape": list(made.shape),
            # As they are read again.
            **({} if made.field == "image" else {**_of_inputs(made), "vocabulary": list(made.vocabulary)}),
            "records": {split: len(source) for split, source in made.data.items()},
        },
    }
    path = folder / "config.json"
    if path.exists():
        there = dict(_read_config(path))
        # Options that are younger than the run had their defaults in it.
        there["settings"] = as_json(from_json(there["settings"]))
        lines = differences(there, config)
        if lines:
            raise UserError(
                f"{folder} was made by another configuration. What differs (there → now):\n  "
                + "\n  ".join(lines)
                + "\nTake another run name (--name NAME) or move the folder away; nothing in it was changed."
            )
    elif folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty and not a run of the zoo: take another run name (--name NAME).")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, config)
    return _run(folder, config)


def open_run(path: str, *, root: str = "runs") -> Run:
    """Find a run: a folder, `EXPERIMENT/NAME` below `root`, or `EXPERIMENT` for its newest run.

    Raises:
        UserError: there is none; the closest are named.
    """
    for folder in (Path(path), Path(root) / path):
        if (folder / "config.json").exists():
            return _run(folder, _read_config(folder / "config.json"))
        inside = [f.parent for f in folder.glob("*/config.json")] if folder.is_dir() else []
        if inside:
            newest = max(inside, key=lambda f: (f / "config.json").stat().st_mtime)
            return _run(newest, _read_config(newest / "config.json"))
    known = [str(f.parent.relative_to(root)) for f in Path(root).glob("*/*/config.json")]
    near = closest(path, known) or known[:5]
    hint = (
        f"Did you mean {' or '.join(near)}?" if near else f"There are no runs in {root!r} yet: `zoo train` makes one."
    )
    raise UserError(f"There is no run {path!r}. {hint}")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the numbers."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def machine() -> dict[str, Any]:
    """What the run ran on, without naming the machine."""
    device = jax.devices()[0]
    return {
        "backend": device.platform,
        "device": device.device_kind,
        "devices": jax.device_count(),
        "cpus": os.cpu_count(),
    }


def write_json(path: Path, values: Any) -> None:
    """Write JSON whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(values, indent=1) + "\n")
    os.replace(partial, path)


def _read_config(path: Path) -> Mapping[str, Any]:
    try:
        config = json.loads(path.read_text())
        missing = {"experiment", "settings", "data"} - set(config)
        if missing:
            raise ValueError(f"without {sorted(missing)}")
    except ValueError as error:
        raise UserError(f"{path} cannot be read ({error}); move the run folder away to start anew.") from None
    return config


def _run(folder: Path, config: Mapping[str, Any]) -> Run:
    known = {f.name for f in dataclasses.fields(Experiment)}
    unknown = set(config["settings"]) - known
    if unknown:
        raise UserError(f"{folder} was made by another version of the zoo: it has the settings {sorted(unknown)}.")
    try:
        experiment = from_json(config["settings"])
    except TypeError as error:
        raise UserError(f"{folder} was made by another version of the zoo: {error}.") from None
    return Run(
        folder,
        config["experiment"],
        experiment,
        outputs_from_json(config["data"]),
        tuple(config["data"]["image_shape"]),
        config["data"].get("field", "image"),
        config["data"].get("channels", {}),
        tuple(config["data"].get("vocabulary", ())),
    )
