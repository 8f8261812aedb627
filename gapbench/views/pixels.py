"""The pixel policy: every engine gets the same pixels.

    image = Pixels(min_pixels=65536, max_pixels=1048576).apply(image)

Model families name and count their image budget in different ways, so gapbench resizes the image itself, before the
processor. Without bounds the image stays as it is, and the processor's own default decides. Both are recorded.

Limits: sides are whole pixels, so each side is off from the exact aspect ratio by less than one pixel. If min and max
are so close that no whole size lies between them, only max holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gapbench.errors import SettingError

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Pixels:
    """Bounds on width x height, in pixels; None leaves that bound to the processor."""

    min_pixels: int | None = None
    max_pixels: int | None = None

    def __post_init__(self) -> None:
        low, high = self.min_pixels, self.max_pixels
        if (low is not None and low < 1) or (high is not None and high < 1) or (low and high and low > high):
            raise SettingError(f"--min-pixels {low} and --max-pixels {high}: expected 1 <= min <= max.")

    def target(self, size: tuple[int, int]) -> tuple[int, int]:
        """The size that an image of `size` (width, height) is resized to; the aspect ratio changes by rounding only.

        `target(target(size)) == target(size)`: an image that is within the bounds stays as it is.
        """
        low, high = self.min_pixels or 1, self.max_pixels or math.inf
        larger = _smallest_above(size, self.min_pixels) if self.min_pixels else size
        smaller = largest_below(size, self.max_pixels) if self.max_pixels else size
        candidates = (size, larger, smaller) if size[0] * size[1] < low else (size, smaller, larger)
        for width, height in candidates:
            if low <= width * height <= high:
                return width, height
        width, height = size
        no_larger_size_fits = width * height <= high < (width + 1) * (height + 1)
        return size if no_larger_size_fits else self.target(smaller)

    def apply(self, image: Image) -> Image:
        """The image within the bounds, resampled with Lanczos if its size changes."""
        return resized(image, self.target(image.size))


def resized(image: Image, size: tuple[int, int]) -> Image:
    """The image at a size in pixels, itself if it has that already."""
    from PIL import Image as Pillow

    return image if size == image.size else image.resize(size, Pillow.Resampling.LANCZOS)


TokenCount = Callable[[tuple[int, int]], int | None]
"""The visual tokens that a model's processor makes of an image of a size (width, height); None if it is not known."""


def not_counted(size: tuple[int, int]) -> None:
    """The `TokenCount` of a model whose processor is not at hand."""


@dataclass(frozen=True)
class Budget:
    """What a view may send of a sample.

    `size` is the (width, height) at which the full view sends the first image; None if the caller sets no bounds.
    `pixels` are the run's bounds, and `tokens` counts what the model makes of an image.
    """

    size: tuple[int, int] | None = None
    pixels: Pixels = Pixels()
    tokens: TokenCount = not_counted


# A scaled image is sqrt(pixels * width / height) wide. Integer roots are exact; floats could be a pixel off.


def largest_below(size: tuple[int, int], pixels: int) -> tuple[int, int]:
    """The size scaled down or up to `pixels`, both sides rounded down. A strip keeps one pixel across."""
    width, height = (max(1, math.isqrt(pixels * a // b)) for a, b in (size, size[::-1]))
    return min(width, pixels), min(height, pixels)


def _smallest_above(size: tuple[int, int], pixels: int) -> tuple[int, int]:
    """The scaled size with both sides rounded up: its area is at least `pixels`."""
    width, height = (1 + math.isqrt(-(-pixels * a // b) - 1) for a, b in (size, size[::-1]))
    return width, height
