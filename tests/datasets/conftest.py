"""Data that several tests share."""

import os
from pathlib import Path

import pytest

from zoo_datasets.loading import catalogue


@pytest.fixture(scope="session")
def radio_galaxies():
    """The real data set, downloaded and prepared once for all sessions in `sources.data_dir()`."""
    return catalogue.load("radio_galaxies")


@pytest.fixture(scope="session")
def manual():
    """`manual("folder/file")` → its path in the user's own data; without them the test is skipped, visibly."""

    def find(name: str) -> Path:
        root = os.environ.get("ZOO_MANUAL_DIR")
        if not root:
            pytest.skip("ZOO_MANUAL_DIR is not set")
        path = Path(root) / name
        if not path.exists():
            pytest.skip(f"{name} is not in ZOO_MANUAL_DIR")
        return path

    return find
