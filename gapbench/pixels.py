"""The pixel policy: every engine is handed the same pixels.

    picture = Pixels(min_pixels=65536, max_pixels=1048576).apply(picture)

No two model families share a setting for their image budget, so gapbench resizes the picture itself, before the
processor. Without bounds the picture goes as it is and the processor's own default decides; both are recorded.

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
        """The size a picture of `size` (width, height) is brought to, aspect ratio kept to rounding."""
        width, height = size
        if self.min_pixels is not None and width * height < self.min_pixels:
            width, height = _least(size, self.min_pixels)
        if self.max_pixels is not None and width * height > self.max_pixels:
            width, height = _most(size, self.max_pixels)
        return width, height

    def apply(self, picture: Image) -> Image:
        """The picture within the bounds, resampled with Lanczos where it has to change."""
        from PIL import Image as Pillow

        target = self.target(picture.size)
        return picture if target == picture.size else picture.resize(target, Pillow.Resampling.LANCZOS)


# A scaled picture is sqrt(pixels * width / height) wide. Integer roots are exact where floats would be a pixel off.


def _most(size: tuple[int, int], pixels: int) -> tuple[int, int]:
    """Both sides rounded down, so that the area is at most `pixels`; a strip keeps one pixel across."""
    width, height = (max(1, math.isqrt(pixels * a // b)) for a, b in (size, size[::-1]))
    return min(width, pixels), min(height, pixels)


def _least(size: tuple[int, int], pixels: int) -> tuple[int, int]:
    """Both sides rounded up, so that the area is at least `pixels`."""
    width, height = (1 + math.isqrt(-(-pixels * a // b) - 1) for a, b in (size, size[::-1]))
    return width, height
