"""Parts that two or more models share."""

from zoo.layers.arithmetic import Window, centre, conv_parameters, jump, output_size, receptive_field, seen_pixels
from zoo.layers.checks import check_image
from zoo.layers.convolution import Conv, Padding, check_padding, he_normal, pad_spatial, same_pads
from zoo.layers.filters import angle_filter, conv2d, edge_filter
from zoo.layers.group import (
    Group,
    GroupConv,
    LiftingConv,
    check_exact_side,
    d4_inverse,
    d4_product,
    group_kernel,
    group_order,
    group_pool,
    lifted_kernel,
    merge_fields,
    split_fields,
    turn,
    turn_fields,
)
from zoo.layers.matrix import convolution_matrix
from zoo.layers.maximum import max_over, maximum
from zoo.layers.normalisation import BatchNorm, masked_moments
from zoo.layers.pooling import (
    avg_pool,
    crop_centre,
    fold_pixels,
    global_pool,
    max_pool,
    pad_to_multiple,
    unfold_pixels,
)
from zoo.layers.stage import Norm, check_norm, conv_stage
from zoo.layers.stochastic import Dropout, example_keys
from zoo.layers.tap import Tap
from zoo.layers.unpooling import (
    ConvTranspose,
    Decoder,
    conv_transpose,
    max_pool_with_switches,
    max_unpool,
    upsample_linear,
    upsample_nearest,
)

__all__ = [
    "BatchNorm",
    "Conv",
    "ConvTranspose",
    "Decoder",
    "Dropout",
    "Group",
    "GroupConv",
    "LiftingConv",
    "Norm",
    "Padding",
    "Tap",
    "Window",
    "angle_filter",
    "avg_pool",
    "centre",
    "check_exact_side",
    "check_image",
    "check_norm",
    "check_padding",
    "conv2d",
    "conv_parameters",
    "conv_stage",
    "conv_transpose",
    "convolution_matrix",
    "crop_centre",
    "d4_inverse",
    "d4_product",
    "edge_filter",
    "example_keys",
    "fold_pixels",
    "global_pool",
    "group_kernel",
    "group_order",
    "group_pool",
    "he_normal",
    "jump",
    "lifted_kernel",
    "masked_moments",
    "max_over",
    "max_pool",
    "max_pool_with_switches",
    "max_unpool",
    "maximum",
    "merge_fields",
    "output_size",
    "pad_spatial",
    "pad_to_multiple",
    "receptive_field",
    "same_pads",
    "seen_pixels",
    "split_fields",
    "turn",
    "turn_fields",
    "unfold_pixels",
    "upsample_linear",
    "upsample_nearest",
]
