"""Whether two images show the same: one a rescaled or re-encoded copy of the other, or a crop of it or of one source.

    index = Index([signature(path) for path in tested])
    index.find(signature("street.jpg"))              # [Match(number=12, kind="crop", similarity=0.97)]

Two signatures find candidates. A perceptual hash (signs of the lowest frequencies of the whole image) finds copies.
Local features find crops: blobs (maxima of the determinant of the Hessian) on an image pyramid, each described by the
signs of the 64 lowest frequencies of the patch around it. Features of two images that agree on one scale and offset
make a candidate. Pixels decide: the overlap of both images is aligned and compared block by block.

Measured (`reports/evidence/near-duplicates.txt`): 96 % of 500 altered copies are found, and none of 7.9 million pairs
of different images is taken for one, so fewer than one in two million is (95 %). In smaller trials the similarity of
pages and screens of one layout with other contents was 0.90 at most, and that of copies 0.97 or more.

Limits: images that are turned, mirrored or sheared, and crops of less than about 30 % of the other image, are not
found, nor are copies in which little is left: smooth images, or crops of less than about 100 pixels a side. A change of
the aspect ratio is found for whole images alone. Images that differ in less than a twentieth of what they show, such as
a form with one other entry, count as one. An image without structure matches nothing.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import fft, ndimage

from gapbench.views import images

MatchKind = Literal["bytes", "copy", "crop"]
FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
FeatureWords = npt.NDArray[np.uint64]
Grey = npt.NDArray[np.uint8]

SIDE = 320
"""Images are compared at this many pixels squared, or at their own size if that is less."""
LEVELS = tuple(SIDE * 2 ** (-k / 4) for k in range(10))
"""Levels of the pyramid, as the root of the number of pixels. A quarter of an octave: features bear an eighth."""
PATCH = 24
"""Side in pixels of the patch that a feature describes, on its level."""
DENSITY = 500
"""One feature per so many pixels of a level at most, so that a crop of any part has its share."""
DETAIL = 4.0
"""Standard deviation in grey levels, without slow changes, below which a block counts as flat."""
TEXTURED = 3.0
"""Standard deviation in grey levels below which a patch is not described."""
KEYS = 4
"""Each word is found by any of so many parts of 16 bits."""
CROWD = 256
"""A key that more features have is passed over: it tells nothing apart."""
NEAR = 14
"""Bits of 64 in which two features may differ."""
NEAR_WHOLE = 14
"""Bits of 64 in which the perceptual hashes of two copies may differ."""
AGREEING = 5
"""Features that must agree on scale and offset before the pixels are looked at."""
CANDIDATES = 12
"""Images whose pixels are looked at, for each signature."""
BLOCK = 12
"""Side in pixels of the blocks that are compared."""
BLOCKS = 16
"""Fewer blocks with structure than this decide nothing."""
SIMILAR = 0.94
"""The correlation of the blocks, weighted by their contrast, from which two images count as one."""
DIFFERING = 0.05
"""Share of the blocks, weighted alike, that may correlate by less than a half."""
SMALLEST = 128 * 128
"""Pixels (width x height) below which an image matches its equals alone."""
COARSE = 120
"""The first steps of the alignment use a grid of this many pixels squared."""
OVERLAP = 0.25
"""Share of the smaller image that the overlap must cover."""
WHOLE = 0.96
"""Share of both images that the overlap of a copy covers."""


@dataclass(frozen=True)
class Signature:
    """What is kept of an image: its pixels in grey at `SIDE` squared or less, a hash, and features.

    `points` (n, 2) are x, y in pixels of `grey`; `words` (n,) describe them. `digest` identifies the stored bytes, or
    the pixels if the image is `exact`: then it matches those with the same pixels alone.
    """

    digest: str
    grey: Grey
    whole: np.uint64
    points: FloatArray
    words: FeatureWords
    exact: bool = False

    @property
    def flat(self) -> bool:
        """Whether nothing is on the image."""
        return bool(self.grey.std() < 1)


@dataclass(frozen=True)
class Match:
    """The image of this number in the index shows the same. `similarity` is at most 1."""

    number: int
    kind: MatchKind
    similarity: float


def signature(source: Any, max_pixels: int = 0, upright: bool = False, exact: bool = False) -> Signature:
    """The signature of an image in any form that `images.read` takes; it raises SampleError as that does.

    Images of less than `SMALLEST` pixels have too few blocks to tell copies from look-alikes, and match their equals
    alone, as all do with `exact`.
    """
    image, digest = images.read(source, max_pixels, upright, enough=SIDE * SIDE)[:2]
    if exact or image.width * image.height < SMALLEST:
        pixels = hashlib.sha256(repr(image.size).encode() + image.tobytes()).hexdigest()
        small = image.convert("L").resize((8, 8))
        return Signature(pixels, np.asarray(small), np.uint64(0), *_features(small), exact=True)
    shrink = min(1.0, SIDE / math.sqrt(image.width * image.height))
    size = max(1, round(image.width * shrink)), max(1, round(image.height * shrink))
    grey = image.convert("L").resize(size, Image.Resampling.BOX if shrink < 0.5 else Image.Resampling.BILINEAR)
    points, words = _features(grey)
    return Signature(digest, np.asarray(grey), _perceptual_hash(grey), points, words)


class Index:
    """Signatures to search. Memory: at most 100 kB for each, and 80 bytes for each of about 600 features."""

    def __init__(self, signatures: Sequence[Signature]) -> None:
        self.signatures = signatures
        self._by_digest: dict[str, list[int]] = {}
        for number, one in enumerate(signatures):
            self._by_digest.setdefault(one.digest, []).append(number)
        self._wholes = np.array([s.whole for s in signatures], np.uint64)
        self._owner = np.repeat(np.arange(len(signatures)), [len(s.words) for s in signatures])
        self._words = np.concatenate([np.zeros(0, np.uint64), *(s.words for s in signatures)])
        self._points = np.concatenate([np.zeros((0, 2), np.float32), *(s.points for s in signatures)])
        keys = [_key(self._words, part) for part in range(KEYS)]
        self._order = [np.argsort(key, kind="stable") for key in keys]
        self._starts = [np.concatenate([[0], np.bincount(key, minlength=1 << 16).cumsum()]) for key in keys]

    def find(self, query: Signature) -> list[Match]:
        """The images that show the same, the most similar first."""
        if query.flat or not len(self.signatures):
            return []
        kind: MatchKind = "copy" if query.exact else "bytes"
        matches = [Match(number, kind, 1.0) for number in self._by_digest.get(query.digest, [])]
        seen = {match.number for match in matches}
        for number, place in () if query.exact else self._candidates(query):
            if self.signatures[number].exact:
                continue
            if number not in seen and (found := compare(query, self.signatures[number], place)):
                seen.add(number)
                matches.append(Match(number, *found))
        return sorted(matches, key=lambda m: -m.similarity)

    def _candidates(self, query: Signature) -> list[tuple[int, FloatArray]]:
        """Images that may show the same, each with the scale (x, y) and offset (x, y) of the query in it."""
        apart = np.bitwise_count(self._wholes ^ query.whole)
        near = [int(i) for i in np.argsort(apart, kind="stable")[:CANDIDATES] if apart[i] <= NEAR_WHOLE]
        found = [(i, _whole_place(query.grey, self.signatures[i].grey)) for i in near]
        mine, theirs = self._matching_features(query.words)
        owners = self._owner[theirs]
        votes = np.bincount(owners, minlength=1)
        for number in np.argsort(-votes, kind="stable")[:CANDIDATES]:
            if votes[number] < AGREEING:
                break
            of = owners == number
            place = agreement(query.points[mine[of]], self._points[theirs[of]])
            if place is not None:
                found.append((int(number), place))
        return found

    def _matching_features(self, words: FeatureWords) -> tuple[IntArray, IntArray]:
        """Pairs of a feature of the query and a feature of the index that differ in few bits."""
        pairs = []
        for part in range(KEYS):
            key = _key(words, part)
            first, last = self._starts[part][key], self._starts[part][key + 1]
            counts = np.where(last - first <= CROWD, last - first, 0)
            mine = np.repeat(np.arange(len(words)), counts)
            within = np.arange(len(mine)) - np.repeat(counts.cumsum() - counts, counts)
            theirs = self._order[part][first[mine] + within]
            close = np.bitwise_count(words[mine] ^ self._words[theirs]) <= NEAR
            pairs.append(mine[close] * len(self._words) + theirs[close])
        both = np.unique(np.concatenate(pairs))
        return both // max(1, len(self._words)), both % max(1, len(self._words))


def agreement(mine: FloatArray, theirs: FloatArray) -> FloatArray | None:
    """Scale (x, y) and offset (x, y) on which most pairs of points agree: theirs = mine * scale + offset.

    `mine` and `theirs` are (n, 2). None if fewer than `AGREEING` pairs agree within 3 pixels. Every two pairs of points
    propose a scale and an offset (at most 40 points propose); the proposal that most pairs follow is fitted to them.
    """
    some = np.linspace(0, len(mine) - 1, min(40, len(mine))).astype(int)
    i, j = (some[side] for side in np.triu_indices(len(some), 1))
    step, other = mine[j] - mine[i], theirs[j] - theirs[i]
    length = (step**2).sum(1)
    scale = (step * other).sum(1) / np.maximum(length, 1e-6)
    fits = (length > 400) & (scale > 0.3) & (scale < 3.3) & (abs(other - scale[:, None] * step).max(1) < 4)
    if not fits.any():
        return None
    scale, offset = scale[fits], theirs[i[fits]] - scale[fits, None] * mine[i[fits]]
    follow = abs(mine * scale[:, None, None] + offset[:, None] - theirs).max(2) < 3
    best = follow[follow.sum(1).argmax()]
    if len(np.unique(mine[best].round(), axis=0)) < AGREEING or len(np.unique(theirs[best].round(), axis=0)) < AGREEING:
        return None
    centred = mine[best] - mine[best].mean(0)
    factor = (centred * (theirs[best] - theirs[best].mean(0))).sum() / max(1e-6, (centred**2).sum())
    moved = theirs[best].mean(0) - factor * mine[best].mean(0)
    return np.array([factor, factor, *moved], np.float32)


def compare(a: Signature, b: Signature, place: FloatArray) -> tuple[MatchKind, float] | None:
    """Whether `a` lies at `place` in `b` by its pixels: the kind and the similarity, or None.

    The place is refined on a coarse grid, then on the finest that both images have.
    """
    if np.array_equal(a.grey, b.grey):
        return "copy", 1.0
    for coarse in (True, True, False, False):
        overlap = _overlap(a.grey.shape, b.grey.shape, place, COARSE if coarse else SIDE)
        if overlap is None:
            return None
        ours, other = _cut(a.grey, b.grey, overlap, place)
        if not coarse and _similarity(ours, other) < SIMILAR - 0.2:
            return None
        place = _refined(ours, other, place, overlap)
    if (overlap := _overlap(a.grey.shape, b.grey.shape, place, SIDE)) is None:
        return None
    similarity = _similarity(*_cut(a.grey, b.grey, overlap, place))
    if similarity < SIMILAR:
        return None
    area = (overlap.x1 - overlap.x0) * (overlap.y1 - overlap.y0)
    whole = area >= WHOLE * a.grey.size and area * place[0] * place[1] >= WHOLE * b.grey.size
    return "copy" if whole else "crop", round(float(similarity), 3)


class Overlap(NamedTuple):
    """What two images share, in pixels of the first, and how many of these one pixel of the comparison spans."""

    x0: float
    y0: float
    x1: float
    y1: float
    step: float


def _overlap(a: tuple[int, ...], b: tuple[int, ...], place: FloatArray, side: int) -> Overlap | None:
    """What images of these shapes share, on a grid of at most `side` squared; None if it is too little to tell."""
    sx, sy, tx, ty = (float(v) for v in place)
    if not (0.2 < sx < 5 and 0.2 < sy < 5):
        return None
    x0, y0 = max(0.0, -tx / sx), max(0.0, -ty / sy)
    x1, y1 = min(float(a[1]), (b[1] - tx) / sx), min(float(a[0]), (b[0] - ty) / sy)
    area = max(0.0, x1 - x0) * max(0.0, y1 - y0)
    step = max(1.0, 1 / sx, 1 / sy)
    if min(x1 - x0, y1 - y0) < 2 * BLOCK * step or area < OVERLAP * min(a[0] * a[1], b[0] * b[1] / (sx * sy)):
        return None
    return Overlap(x0, y0, x1, y1, max(step, math.sqrt(area) / side))


def _cut(a: Grey, b: Grey, overlap: Overlap, place: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The overlap of both images on one grid, without slow changes of brightness."""
    x0, y0, x1, y1, step = overlap
    sx, sy, tx, ty = (float(v) for v in place)
    size = max(1, round((x1 - x0) / step)), max(1, round((y1 - y0) / step))
    left, top = max(0.0, x0 * sx + tx), max(0.0, y0 * sy + ty)
    there = (left, top, min(float(b.shape[1]), x1 * sx + tx), min(float(b.shape[0]), y1 * sy + ty))
    return _band(a, size, (x0, y0, x1, y1)), _band(b, size, there)


def _band(grey: Grey, size: tuple[int, int], box: tuple[float, float, float, float]) -> FloatArray:
    """A part of an image at a size, without its noise and without its slow changes."""
    part = np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BILINEAR, box=box), np.float32)
    band: FloatArray = ndimage.gaussian_filter(part, 1.0, truncate=2) - ndimage.uniform_filter(part, BLOCK)
    return band


def _refined(ours: FloatArray, other: FloatArray, place: FloatArray, overlap: Overlap) -> FloatArray:
    """The place after one step of Gauss and Newton on the difference of both cuts (Lucas and Kanade, 1981)."""
    gain = float((ours * other).sum() / max(1e-6, float((other**2).sum())))
    dy, dx = np.gradient(gain * other)
    y, x = np.mgrid[: ours.shape[0], : ours.shape[1]].astype(np.float32)
    slopes = np.stack([dx * x, dy * y, dx, dy]).reshape(4, -1)
    normal = slopes @ slopes.T
    change = np.linalg.lstsq(normal, slopes @ (ours - gain * other).ravel(), rcond=1e-7)[0]
    if abs(change[:2]).max() > 0.1 or abs(change[2:]).max() > 4:
        return place
    # Pixel x of the cut of b belongs at x * (1 + change[0]) + change[2]; the cut begins at x0, one pixel spans step.
    sx, sy, tx, ty = place
    fx, fy = 1 + change[0], 1 + change[1]
    to_x = tx + overlap.x0 * sx * (1 - fx) + change[2] * overlap.step * sx
    to_y = ty + overlap.y0 * sy * (1 - fy) + change[3] * overlap.step * sy
    return np.array([sx * fx, sy * fy, to_x, to_y], np.float32)


def _similarity(ours: FloatArray, other: FloatArray) -> float:
    """The correlation within blocks, as mean weighted by contrast; 0 if too few blocks show anything or many differ."""
    a, b = _blocks(ours), _blocks(other)
    contrast = np.sqrt(np.stack([(a**2).mean(1), (b**2).mean(1)]))
    shown = contrast.max(0, initial=0) >= DETAIL
    if shown.sum() < BLOCKS:
        return 0.0
    correlation = ((a * b).mean(1) / np.maximum(contrast.prod(0), 1e-3))[shown]
    weight = np.sqrt(contrast.max(0)[shown])
    differing = float(np.average(correlation < 0.5, weights=weight))
    return float(np.average(correlation, weights=weight)) if differing <= DIFFERING else 0.0


def _blocks(cut: FloatArray) -> FloatArray:
    """The whole blocks of a cut, each without its mean: (n, BLOCK * BLOCK)."""
    rows, columns = cut.shape[0] // BLOCK, cut.shape[1] // BLOCK
    blocks = cut[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK).swapaxes(1, 2)
    blocks = blocks.reshape(-1, BLOCK**2)
    centred: FloatArray = blocks - blocks.mean(1, keepdims=True)
    return centred


def _whole_place(a: Grey, b: Grey) -> FloatArray:
    return np.array([b.shape[1] / a.shape[1], b.shape[0] / a.shape[0], 0, 0], np.float32)


def _perceptual_hash(grey: Image.Image) -> np.uint64:
    """Signs of the 64 lowest frequencies but the mean."""
    small = np.asarray(grey.resize((32, 32), Image.Resampling.BOX), np.float32)
    low = fft.dctn(small, norm="ortho")[:9, :9].ravel()
    return np.uint64(_pack(low[None, 1:65])[0])


def _features(grey: Image.Image) -> tuple[FloatArray, FeatureWords]:
    """Points (n, 2) in pixels of `grey` and the words (n,) that describe the patches around them."""
    points, words = [np.zeros((0, 2), np.float32)], [np.zeros(0, np.uint64)]
    own = math.sqrt(grey.width * grey.height)
    for level in LEVELS:
        if level > own * 1.5:
            continue
        size = max(1, round(grey.width * level / own)), max(1, round(grey.height * level / own))
        if min(size) < PATCH + 8:
            continue
        pixels = np.asarray(grey.resize(size, Image.Resampling.BILINEAR), np.float32)
        xy, described = _described(ndimage.gaussian_filter(pixels, 1.2, truncate=3))
        points.append((xy + 0.5) * np.array([grey.width / size[0], grey.height / size[1]], np.float32))
        words.append(described)
    return np.concatenate(points).astype(np.float32), np.concatenate(words)


def _described(smooth: FloatArray) -> tuple[FloatArray, FeatureWords]:
    """Blobs of one level, x and y, spread over it, and their words."""
    centre = smooth[2:-2, 2:-2]
    xx = smooth[2:-2, 4:] - 2 * centre + smooth[2:-2, :-4]
    yy = smooth[4:, 2:-2] - 2 * centre + smooth[:-4, 2:-2]
    xy = (smooth[4:, 4:] - smooth[4:, :-4] - smooth[:-4, 4:] + smooth[:-4, :-4]) / 4
    strength = xx * yy - xy * xy
    edge = PATCH // 2 - 2
    peak = (ndimage.maximum_filter(strength, 7) == strength) & (strength > 6)
    peak[:edge] = peak[len(peak) - edge :] = False
    peak[:, :edge] = peak[:, peak.shape[1] - edge :] = False
    y, x = np.nonzero(peak)
    order = np.argsort(-strength[y, x], kind="stable")
    y, x = y[order] + 2, x[order] + 2
    # The strongest of each cell, then the second of each, ...: a crop of any part has its share.
    cell = (y // 64) * 1000 + x // 64
    rank = np.zeros(len(cell), int)
    by_cell = np.argsort(cell, kind="stable")
    starts = np.flatnonzero(np.diff(cell[by_cell], prepend=-1))
    rank[by_cell] = np.arange(len(cell)) - np.repeat(starts, np.diff(starts, append=len(cell)))
    keep = np.sort(np.argsort(rank, kind="stable")[: smooth.size // DENSITY])
    y, x = y[keep], x[keep]
    half = PATCH // 2
    patches = np.lib.stride_tricks.sliding_window_view(smooth, (PATCH, PATCH))[y - half, x - half]
    patches = patches.reshape(-1, PATCH * PATCH)
    detailed = patches.std(1) >= TEXTURED
    return np.stack([x, y], -1)[detailed].astype(np.float32), _pack(patches[detailed] @ _frequencies())


@lru_cache(1)
def _frequencies() -> FloatArray:
    """The 64 lowest cosines of a patch but the mean, lowest first: (PATCH * PATCH, 64)."""
    waves = np.cos(np.pi * (np.arange(PATCH)[None] + 0.5) * np.arange(10)[:, None] / PATCH)
    order = sorted(((u, v) for u in range(10) for v in range(10) if u + v), key=lambda f: (f[0] ** 2 + f[1] ** 2, f))[
        :64
    ]
    return np.stack([np.outer(waves[u], waves[v]).ravel() for u, v in order], -1).astype(np.float32)


def _pack(values: FloatArray) -> FeatureWords:
    """The signs of (n, 64) numbers as n words."""
    return np.packbits(values > 0, axis=1).view(np.uint64).ravel()


def _key(words: FeatureWords, part: int) -> IntArray:
    return ((words >> np.uint64(16 * part)) & np.uint64(0xFFFF)).astype(np.int64)
