"""The pixel policy: every engine is handed the same pixels.

    image = Pixels(min_pixels=65536, max_pixels=1048576).apply(image)

No two model families share a setting for their image budget, so gapbench resizes the image itself, before the
processor. Without bounds the image goes as it is and the processor's own default decides; both are recorded.

Limits: sides are whole pixels, so the aspect ratio is kept to less than one pixel a side. Where both bounds cannot hold
(min and max so close that no whole size lies between them), max does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gapbench.errors import SettingError

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Pixels:
    """Bounds on width x height, in pixels; None leaves that side to the processor."""

    min_pixels: int | None = None
    max_pixels: int | None = None

    def __post_init__(self) -> None:
        low, high = self.min_pixels, self.max_pixels
        if (low is not None and low < 1) or (high is not None and high < 1) or (low and high and low > high):
            raise SettingError(f"--min-pixels {low} and --max-pixels {high}: expected 1 <= min <= max.")

    def target(self, size: tuple[int, int]) -> tuple[int, int]:
        """The size an image of `size` (width, height) is brought to, aspect ratio kept to rounding.

        `target(target(size)) == target(size)`, since images are bounded when they are made ready and by the engine.
        """
        low, high = self.min_pixels or 1, self.max_pixels or math.inf
        larger = _least(size, self.min_pixels) if self.min_pixels else size
        smaller = _most(size, self.max_pixels) if self.max_pixels else size
        nearest = (size, larger, smaller) if size[0] * size[1] < low else (size, smaller, larger)
        for width, height in nearest:
            if low <= width * height <= high:
                return width, height
        width, height = size
        as_near_as_whole_pixels_are = width * height <= high < (width + 1) * (height + 1)
        return size if as_near_as_whole_pixels_are else self.target(smaller)

    def apply(self, image: Image) -> Image:
        """The image within the bounds, resampled with Lanczos where it has to change."""
        from PIL import Image as Pillow

        target = self.target(image.size)
        return image if target == image.size else image.resize(target, Pillow.Resampling.LANCZOS)


# A scaled image is sqrt(pixels * width / height) wide. Integer roots are exact where floats would be a pixel off.


def _most(size: tuple[int, int], pixels: int) -> tuple[int, int]:
    """Both sides rounded down, so that the area is at most `pixels`; a strip keeps one pixel across."""
    width, height = (max(1, math.isqrt(pixels * a // b)) for a, b in (size, size[::-1]))
    return min(width, pixels), min(height, pixels)


def _least(size: tuple[int, int], pixels: int) -> tuple[int, int]:
    """Both sides rounded up, so that the area is at least `pixels`."""
    width, height = (1 + math.isqrt(-(-pixels * a // b) - 1) for a, b in (size, size[::-1]))
    return width, height
