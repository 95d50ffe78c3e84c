"""Parts that two or more models share."""

from zoo.layers.checks import check_image
from zoo.layers.convolution import Conv, Padding, check_padding, he_normal, pad_spatial, same_pads
from zoo.layers.normalisation import BatchNorm, masked_moments
from zoo.layers.pooling import avg_pool, fold_pixels, global_pool, max_pool
from zoo.layers.stochastic import Dropout, example_keys
from zoo.layers.tap import Tap

__all__ = [
    "BatchNorm",
    "Conv",
    "Dropout",
    "Padding",
    "Tap",
    "avg_pool",
    "check_image",
    "check_padding",
    "example_keys",
    "fold_pixels",
    "global_pool",
    "he_normal",
    "masked_moments",
    "max_pool",
    "pad_spatial",
    "same_pads",
]
