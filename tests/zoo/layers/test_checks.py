import jax
import jax.numpy as jnp
import pytest

from zoo.layers import check_image


def struct(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def test_what_fits_passes():
    assert check_image("Net", struct(2, 32, 40, 3), channels=3, minimum=32) is None
    assert check_image("Net", struct(2, 7, 1), ndims=(1, 3)) is None


@pytest.mark.parametrize(
    ("shape", "options", "expected"),
    [
        ((32, 32, 3), {}, "Net takes arrays (B, H, W, C), channels last; got shape (32, 32, 3)."),
        ((2, 3), {"ndims": (1, 3)}, "Net takes arrays (B, T, C) or (B, D, H, W, C), channels last; got shape (2, 3)."),
        ((1, 8, 8, 4), {"channels": 3}, "in_channels=3, but the input has 4 channels (shape (1, 8, 8, 4)"),
        ((1, 8, 7, 3), {"minimum": 8}, "every spatial axis needs at least 8 pixels, got (8, 7)."),
    ],
)
def test_what_does_not_fit_is_refused(shape, options, expected):
    with pytest.raises(ValueError, match="Net") as caught:
        check_image("Net", struct(*shape), **options)
    assert expected in str(caught.value)
