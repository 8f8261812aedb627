"""Views: what the model sees of a sample. A view may have parameters, and its name with them is the key of its records.

    view = parse_views("full,crop:factor=2")[1]
    view.name, view.kind, view.policy("padded")                         # 'crop:factor=2', 'crop', 'padded:factor=2'
    VIEWS[view.kind].show((image,), region, "Which letter?", budget)    # Shown(images, prompt), or SampleError: why not

The views `full` and `crop` make the headline gap; `boxed` is the full image with a red frame around the region. Four
views are controls, and serve trainings (`gapbench.views.counterfactual`): `degraded` has fewer pixels, `hide` covers
the region, `random_crop` is cut elsewhere, and `mean_colour` has no content. If a sample has several images, `crop` and
`random_crop` omit the others, and the rest show them after the first.

A view that needs a region takes the parameters of region policies (`gapbench.views.regions`): `crop:factor=2`,
`crop:region=mosaic`. `degraded` takes a scale, or a range from which it is drawn: `degraded:scale=0.3-0.6`.

Limits: a view is a pure function of one sample; it cannot show another sample's image.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from gapbench.errors import SampleError, SettingError
from gapbench.views.counterfactual import elsewhere, hidden, mean_coloured, reduced
from gapbench.views.regions import Images, Region, cut, mosaic, parse_policy, with_parameters


@dataclass(frozen=True)
class Shown:
    """What a view shows: images, and the prompt after them."""

    images: Images
    prompt: str


@dataclass(frozen=True)
class ViewKind:
    """How a kind of view is made, whether it needs a region, and its own parameters with their defaults.

    `show` takes the sample's images, its region, its prompt, and the budget: the pixels (width x height) that the full
    view sends within the run's bounds, to which a view may enlarge what it shows; then its own parameters, as text and
    by name. It raises SampleError, with the reason, where the view is not available.

    `check` raises ValueError, which says what was expected, for values that its own parameters cannot have.
    """

    show: Callable[..., Shown]
    needs_region: bool = False
    defaults: Mapping[str, str] = field(default_factory=dict)
    check: Callable[..., object] = dict


@dataclass(frozen=True)
class View:
    """A view of a run. `name` holds the parameters, sorted; records are keyed by it."""

    kind: str
    parameters: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """`crop`, or `crop:factor=2,min_side=30`."""
        parameters = ",".join(f"{key}={self.parameters[key]}" for key in sorted(self.parameters))
        return f"{self.kind}:{parameters}" if parameters else self.kind

    @property
    def needs_region(self) -> bool:
        """Whether the view needs a region."""
        return VIEWS[self.kind].needs_region

    def show(self, images: Images, region: Region | None, prompt: str, budget: int) -> Shown:
        """What the view shows (`ViewKind.show`). Raises SampleError where it is not available."""
        own = {} if self.needs_region else self.parameters
        return VIEWS[self.kind].show(images, region, prompt, budget, **own)

    def policy(self, policy: str) -> str:
        """The region policy of this view in a task with `policy`. Raises SettingError if the two do not fit."""
        if not self.needs_region:
            return policy
        try:
            return with_parameters(policy, self.parameters)
        except SettingError as error:
            raise SettingError(f"--views {self.name}: {error}") from error


def parse_views(text: str | Sequence[str]) -> tuple[View, ...]:
    """`full,crop:factor=2,min_side=30` -> two views. A part `key=value` belongs to the view before it.

    Raises SettingError for an unknown view or parameter, for a view that comes twice, and if there is none.
    """
    names: list[str] = []
    for part in text.split(",") if isinstance(text, str) else text:
        if names and re.match(r"\s*\w+\s*=", part):
            names[-1] += f"{',' if ':' in names[-1] else ':'}{part}"
        elif part.strip():
            names.append(part)
    views = tuple(map(parse_view, names))
    if not views or len({view.name for view in views}) < len(views):
        raise SettingError(
            f"--views {','.join(names)}: expected one or more of {', '.join(VIEWS)}, each once, with commas."
        )
    return views


def parse_view(text: str, setting: str = "--views") -> View:
    """One view, from the value of `setting`. Raises SettingError as `parse_views` does."""
    kind, _, rest = (part.strip() for part in text.partition(":"))
    if kind not in VIEWS:
        raise SettingError(f"{setting} {text}: there is no view {kind!r}. Expected one or more of {', '.join(VIEWS)}.")
    made = VIEWS[kind]
    parameters: dict[str, str] = {}
    for item in filter(None, rest.split(",")):
        key, equals, value = (part.strip() for part in item.partition("="))
        if not equals or not (made.needs_region or key in made.defaults) or key in parameters:
            takes = "parameters as in crop:factor=2" if made.needs_region else " and ".join(made.defaults)
            raise SettingError(
                f"{setting} {text}: {item!r} is not understood. `{kind}` takes {takes or 'no parameters'}, each once."
            )
        number = re.fullmatch(r"\d+(\.\d*)?", value)
        parameters[key] = f"{float(value):.15g}" if number else value
    view = View(kind, {**made.defaults, **parameters})
    try:
        made.check(**view.parameters)
    except ValueError as error:
        raise SettingError(f"{setting} {text}: {error}") from error
    if "region" in parameters:
        view.policy("padded")  # an unknown policy is refused
    return view


def full(images: Images, region: Region | None, prompt: str, budget: int) -> Shown:
    """All images of the sample, uncut."""
    return Shown(images, prompt)


def crop(images: Images, region: Region | None, prompt: str, budget: int) -> Shown:
    """The region alone. The model's processor may enlarge it, as any other image."""
    if region is None:
        raise SampleError("view `crop`: no region was given.")
    return Shown(crop_images(images, region), prompt)


def crop_images(images: Images, region: Region) -> Images:
    """The images of a region: the crop that the benchmark ships, or its boxes cut out of the first image."""
    if region.image is not None:
        return (region.image,)
    parts = tuple(cut(images[0], box) for box in region.boxes)
    return (mosaic(parts),) if parse_policy(region.policy)[0] == "mosaic" else parts


def boxed(images: Images, region: Region | None, prompt: str, budget: int) -> Shown:
    """All images; the first has a red frame around each box of the region, as ZwZ and Vision-OPD mark evidence.

    The frame lies outside the region, so that it hides none of it. It is 5 px wide, and thinner on images below
    320 px.
    """
    from PIL import ImageDraw

    if region is None or not region.boxes:
        raise SampleError("view `boxed`: no region with a box was given.")
    image, *rest = images
    width = max(1, min(5, round(min(image.size) / 64)))
    framed = image.copy()
    for x0, y0, x1, y1 in region.boxes:
        outside = (x0 - width, y0 - width, x1 + width - 1, y1 + width - 1)
        ImageDraw.Draw(framed).rectangle(outside, outline=(255, 0, 0), width=width)
    for box in region.boxes:  # restore what the frame of another box hides
        framed.paste(cut(image, box), (int(box[0]), int(box[1])))
    return Shown((framed, *rest), prompt)


def degraded(images: Images, region: Region | None, prompt: str, budget: int, scale: str) -> Shown:
    """All images with fewer pixels: `scale`, or a share drawn from it, times the width and height.

    A model whose processor enlarges small images shows the loss of detail alone; others also take fewer tokens.
    """
    return Shown(tuple(reduced(image, scale_of(scale)) for image in images), prompt)


def scale_of(scale: str) -> tuple[float, float]:
    """`0.3-0.6` -> (0.3, 0.6), `0.5` -> (0.5, 0.5). Raises ValueError outside 0 to 1, both excluded."""
    parts = scale.split("-")
    try:
        low, high = float(parts[0]), float(parts[-1])
    except ValueError:
        low = high = 0.0
    if len(parts) > 2 or not 0 < low <= high < 1:
        raise ValueError(
            f"scale={scale} is out of range. Expected a number between 0 and 1, or a range such as 0.3-0.6."
        )
    return low, high


def hide(images: Images, region: Region | None, prompt: str, budget: int) -> Shown:
    """All images; in the first one the region is filled with the image's mean colour."""
    if region is None or not region.boxes:
        raise SampleError("view `hide`: no region with a box was given.")
    return Shown((hidden(images[0], region.boxes), *images[1:]), prompt)


def random_crop(images: Images, region: Region | None, prompt: str, budget: int) -> Shown:
    """A part of the first image that is as large as the region, and elsewhere (`counterfactual.elsewhere`)."""
    if region is None or region.box is None:
        raise SampleError("view `random_crop`: no region with a box was given.")
    return Shown((cut(images[0], elsewhere(images[0], region.box)),), prompt)


def mean_colour(images: Images, region: Region | None, prompt: str, budget: int) -> Shown:
    """As many images, of the same sizes, each in its mean colour: what a model says without seeing."""
    return Shown(tuple(map(mean_coloured, images)), prompt)


VIEWS: dict[str, ViewKind] = {
    "full": ViewKind(full),
    "crop": ViewKind(crop, True),
    "boxed": ViewKind(boxed, True),
    "degraded": ViewKind(degraded, defaults={"scale": "0.5"}, check=scale_of),
    "hide": ViewKind(hide, True),
    "random_crop": ViewKind(random_crop, True),
    "mean_colour": ViewKind(mean_colour),
}
