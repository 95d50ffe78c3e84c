"""Data that several tests share."""

import pytest

from zoo_datasets.loading import catalogue


@pytest.fixture(scope="session")
def radio_galaxies():
    """The real data set, downloaded and prepared once for all sessions in `sources.data_dir()`."""
    return catalogue.load("radio_galaxies")
