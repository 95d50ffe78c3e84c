"""Experiments: one file each, holding frozen `Experiment` values; `zoo train NAME` runs one.

A new experiment is a new file with a table `EXPERIMENTS` and its name in `_FILES`.
"""

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zoo_experiments.verbs.experiment import Experiment

_FILES = (
    "angles",
    "digits",
    "circles",
    "galaxies",
    "photoz",
    "lenses",
    "radio_galaxies",
    "nuclei",
    "blends",
    "pixel_morphology",
    "ccd_tracks",
    "tracks3d",
    "baryons",
    "stellar_maps",
    "bouncing_ball",
    "long_memory",
    "light_curves",
    "spcc",
    "text",
    "ucr",
    "karate",
    "cora",
    "molecules",
    "rings",
    "coauthors",
    "halos",
    "cherenkov",
    "jets",
)


def experiments() -> "Mapping[str, Experiment]":
    """Name → experiment, over all files."""
    found: dict[str, Experiment] = {}
    for file in _FILES:
        found |= importlib.import_module(f"zoo_experiments.{file}").EXPERIMENTS
    return found
