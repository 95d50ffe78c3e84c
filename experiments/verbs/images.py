"""From a record of a data set to the array a network takes: deterministic, once per image, in NumPy."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from zoo.errors import UserError
from zoo_experiments.verbs.checks import require, require_at_least, require_finite

Stretch = Literal["linear", "sqrt", "asinh"]

# Softening of the asinh stretch, as a share of the full range (Lupton+04, https://arxiv.org/abs/astro-ph/0312483).
SOFTENING = 0.05


@dataclass(frozen=True)
class Images:
    """Centre crop, resizing by area, scaling and stretch.

    Attributes:
        crop: sides in pixels of the central squares that are kept, each giving its own channels (a close look and
            a wide one); 0 keeps the largest central square. Smaller images are kept whole.
        size: side in pixels after resizing by averaging over areas (exact for whole factors); 0 leaves the size. Images
            that are not square are cut to their central square first (except where neither `crop` nor `size` is set).
        scale: `unit` divides integers by the largest value of their type, leaving floats alone; `max` divides each
            image by its own maximum, so that brightness carries no information (blank images stay zero).
        full_scale: value of float images that becomes 1, in their units; for example 20 for images in units of the
            noise, which `asinh` then compresses from one noise on.
        stretch: curve applied after scaling: `linear`, `sqrt` or `asinh` (with softening 0.05), odd in the values.
        colours: difference of two neighbouring bands that becomes 1: after the stretch every channel but the middle one
            gives way to its difference to the neighbour nearer to the middle, bluer less redder. Small colours on a
            bright image are learnt much sooner so. 0 leaves the bands.
        nan: what to do with pixels that are NaN in a channel: `refuse` them, or `mask` them, that is set them to 0 and
            leave them out of loss and metrics, where the truth is about pixels.

    Raises:
        UserError: no crop, or a negative number of pixels.
    """

    crop: tuple[int, ...] = (0,)
    size: int = 64
    scale: Literal["unit", "max"] = "unit"
    full_scale: float = 1.0
    stretch: Stretch = "linear"
    colours: float = 0.0
    nan: Literal["refuse", "mask"] = "refuse"

    def __post_init__(self) -> None:
        require(bool(self.crop), "images.crop", "at least one side in pixels (0 for the largest square)", self.crop)
        for side in self.crop:
            require_at_least("images.crop", side, 0)
        require_at_least("images.size", self.size, 0)
        require_finite("images.full_scale", self.full_scale, positive=True)
        require_finite("images.colours", self.colours)

    def __call__(self, record: dict) -> dict:
        """Replace `image` (H, W, C) by a float32 array (size, size, C · number of crops).

        A volume (D, H, W, C) is neither cropped nor resized. With masking, `valid` (H, W) tells which pixels count: as
        before, and finite.
        """
        image = record["image"]
        if self.nan == "refuse":
            return {**record, "image": self.image(image)}
        finite = np.isfinite(image).all(-1)
        valid = finite & (record["valid"] > 0) if "valid" in record else finite
        image = np.where(finite[..., None], image, np.zeros((), image.dtype))
        return {**record, "image": self.image(image), "valid": valid.astype(np.uint8)}

    def image(self, image: np.ndarray) -> np.ndarray:
        """One image (H, W, C), integer or float → (size, size, C · number of crops) float32, crops in order."""
        whole = self.crop == (0,) and self.size == 0
        if image.ndim != 3 and not (whole and image.ndim == 4):
            hint = " Volumes are neither cropped nor resized: set images.size to 0." if image.ndim == 4 else ""
            raise UserError(f"An image should have the shape (H, W, C), got {image.shape}.{hint}")
        values = image.astype(np.float32)
        if np.issubdtype(image.dtype, np.integer):
            values /= np.iinfo(image.dtype).max
        elif self.full_scale != 1:
            values /= self.full_scale
        if self.scale == "max" and (largest := np.abs(values).max()) > 0:
            values = values / largest
        crops = [self._cut(values, side) for side in self.crop]
        if len({crop.shape for crop in crops}) > 1:
            raise UserError(f"Several crops need one size: set images.size (crop {self.crop}, size {self.size}).")
        bands = [stretched(crop, self.stretch) for crop in crops]
        if self.colours:
            bands = [coloured(values, self.colours) for values in bands]
        return np.concatenate(bands, axis=-1).astype(np.float32)

    def _cut(self, values: np.ndarray, side: int) -> np.ndarray:
        if side or self.size:
            values = central_square(values, side or max(values.shape[:2]))
        return resize(values, self.size) if self.size else values


def central_square(image: np.ndarray, side: int) -> np.ndarray:
    """The central `side` × `side` pixels of (H, W, C), or the largest central square that there is."""
    side = min(side, *image.shape[:2])
    top, left = ((n - side) // 2 for n in image.shape[:2])
    return image[top : top + side, left : left + side]


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """Resize (H, W, C) to (size, size, C): mean over areas (Pillow's box filter) to shrink, bilinear to grow."""
    if image.shape[:2] == (size, size):
        return image
    kind = Image.Resampling.BOX if image.shape[0] > size else Image.Resampling.BILINEAR
    channels = [
        np.asarray(Image.fromarray(np.ascontiguousarray(image[..., c])).resize((size, size), kind))
        for c in range(image.shape[-1])
    ]
    return np.stack(channels, axis=-1)


def coloured(values: np.ndarray, width: float) -> np.ndarray:
    """The middle channel of (H, W, C), and between neighbouring channels the differences in units of `width`.

    Raises:
        UserError: a single channel, which has no colours.
    """
    if values.shape[-1] < 2:
        raise UserError("images.colours is for images of several bands; these have one. Set it to 0.")
    middle = values.shape[-1] // 2
    between = (values[..., :-1] - values[..., 1:]) / width
    return np.concatenate([between[..., :middle], values[..., middle : middle + 1], between[..., middle:]], axis=-1)


def stretched(values: np.ndarray, stretch: Stretch) -> np.ndarray:
    """The stretch, odd in the values and mapping 1 to 1."""
    if stretch == "sqrt":
        return np.sign(values) * np.sqrt(np.abs(values))
    if stretch == "asinh":
        return np.arcsinh(values / SOFTENING) / np.arcsinh(1 / SOFTENING)
    return values
