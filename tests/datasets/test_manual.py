"""Real files in formats that users bring, from the folder `$ZOO_MANUAL_DIR`."""

import numpy as np
import pytest

from zoo_datasets.loading.arrays import load_arrays
from zoo_datasets.loading.records import DataError

pytestmark = pytest.mark.manual_data


def test_npz_of_nuclei_without_labels(manual):
    # 334 images of 256 × 256 pixels: one channel is added, values stay as they are.
    path = manual("dsb2018_nuclei/dsb2018_256_fluo.npz")
    source = load_arrays(path, labels=False).splits["all"]
    assert len(source) == 334
    assert source[0]["image"].shape == (256, 256, 1)
    with np.load(path) as archive:
        np.testing.assert_array_equal(source[7]["image"][..., 0], archive["images"][7])


def test_npz_whose_labels_are_instances_is_refused(manual):
    path = manual("dsb2018_nuclei/dsb2018_256_fluo.npz")
    with pytest.raises(DataError, match=r"none of label \d+ .*Numbers of instances are no classes: save labels > 0"):
        load_arrays(path, labels=True)


def test_fits_of_stamps_of_many_sizes_is_refused_or_read_whole(manual):
    # 100 stamps, one per HDU, 32 to 110 pixels a side: not a cube of one shape.
    with pytest.raises(DataError) as caught:
        load_arrays(manual("cosmos_hst_stamps/real_galaxy_images_extension.fits"), labels=False)
    assert "real_galaxy_images_extension.fits" in str(caught.value)


def test_hdf5_without_images_lists_what_there_is(manual):
    with pytest.raises(DataError, match="INPUTS"):
        load_arrays(manual("spanet_example/full_hadronic_ttbar__example.h5"), labels=False)
