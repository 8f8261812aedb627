"""Views: what the model sees of a sample. A view may have parameters, and its name with them is the key of its records.

    view = parse_views("full,crop:factor=2")[1]
    view.name, view.kind, view.policy("padded")          # 'crop:factor=2', 'crop', 'padded:factor=2'
    view.show((image,), region, "Which letter?")         # Shown(images, prompt), or SampleError: why not

The views `full` and `crop` make the headline gap. The others say what it is made of, and what closes it:
`gapbench.views.kinds` has them all. A group stands for several: `standard`, `factorial`, `cures` (`GROUPS`).

A view that needs a region takes the parameters of region policies (`gapbench.views.regions`): `crop:factor=2`,
`crop:region=mosaic`. Some have parameters of their own: `mask:fill=blur`, `full_up:factor=3`, `degraded:scale=0.3-0.6`.
One at its default is no part of the name: `full_up:factor=2` is `full_up`.

Limits: a view is a pure function of one sample; it cannot show another sample's image.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gapbench.errors import SampleError, SettingError
from gapbench.views.kinds import VIEWS, Shown
from gapbench.views.pixels import Budget
from gapbench.views.regions import Images, Region, with_parameters

GROUPS: dict[str, tuple[str, ...]] = {
    "standard": ("full", "crop"),
    "factorial": (
        "full", "mask", "full_up", "full_up_mask", "crop", "crop:factor=2", "crop:factor=4", "crop_native",
        "mask:fill=blur", "blind", "blank", "random_crop", "hide", "boxed", "hint", "coordinates",
    ),
    "cures": ("full", "crop", "full_up", "boxed", "full+crop"),
}  # fmt: skip
"""Groups of views by name.

- `standard`: the gap.
- `factorial`: what it is made of. Surroundings and resolution (`full`, `mask`, `full_up`, `full_up_mask`), the size of
  the region, the canvas, a second fill, what is answered without evidence, and pointing by image, words and numbers.
- `cures`: what closes it without a training. With `--regions`, box and zoom are those that the model found itself.
"""


@dataclass(frozen=True)
class View:
    """A view of a run. `name` holds the parameters that are not at their defaults, sorted; records are keyed by it."""

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

    @property
    def own(self) -> dict[str, str]:
        """The view's own parameters, without those of its region policy."""
        defaults = VIEWS[self.kind].defaults
        return {**defaults, **{key: self.parameters[key] for key in self.parameters if key in defaults}}

    def show(self, images: Images, region: Region | None, prompt: str = "", budget: Budget | None = None) -> Shown:
        """What the view shows (`ViewKind.show`). Raises SampleError where it is not available."""
        kind = VIEWS[self.kind]
        if kind.needs_region and (region is None or not (region.boxes or kind.shipped)):
            raise SampleError(f"view `{self.kind}`: no region{'' if kind.shipped else ' with a box'} was given.")
        return kind.show(images, region, prompt, budget or Budget(), **self.own)

    def policy(self, policy: str) -> str:
        """The region policy of this view in a task with `policy`. Raises SettingError if the two do not fit."""
        if not self.needs_region:
            return policy
        own = self.own
        try:
            return with_parameters(policy, {key: value for key, value in self.parameters.items() if key not in own})
        except SettingError as error:
            raise SettingError(f"--views {self.name}: {error}") from error


def parse_views(text: str | Sequence[str]) -> tuple[View, ...]:
    """`full,crop:factor=2,min_side=30` -> two views. A part `key=value` belongs to the view before it.

    A group stands for its views; one that is there already is not added again. Raises SettingError for an unknown view
    or parameter, for a view that is named twice, and if there is none.
    """
    names: list[str] = []
    for part in text.split(",") if isinstance(text, str) else text:
        if names and re.match(r"\s*\w+\s*=", part):
            names[-1] += f"{',' if ':' in names[-1] else ':'}{part}"
        elif part.strip():
            names.append(part)
    named = [parse_view(name) for name in names if name.strip() not in GROUPS]
    if not names or len({view.name for view in named}) < len(named):
        raise SettingError(f"--views {','.join(names)}: expected one or more of {_known()}, each once, with commas.")
    every = (one for name in names for one in GROUPS.get(name.strip(), (name,)))
    return tuple({view.name: view for view in map(parse_view, every)}.values())


def parse_view(text: str, setting: str = "--views") -> View:
    """One view, from the value of `setting`. Raises SettingError as `parse_views` does."""
    kind, _, rest = (part.strip() for part in text.partition(":"))
    if kind not in VIEWS:
        raise SettingError(f"{setting} {text}: there is no view {kind!r}. Expected one or more of {_known()}.")
    made = VIEWS[kind]
    parameters: dict[str, str] = {}
    for item in filter(None, rest.split(",")):
        key, equals, value = (part.strip() for part in item.partition("="))
        if not equals or not (made.needs_region or key in made.defaults) or key in parameters:
            takes = [*made.defaults, *(["parameters as in crop:factor=2"] if made.needs_region else [])]
            raise SettingError(
                f"{setting} {text}: {item!r} is not understood. `{kind}` takes "
                f"{' and '.join(takes) or 'no parameters'}, each once."
            )
        number = re.fullmatch(r"\d+(\.\d*)?", value)
        parameters[key] = f"{float(value):.15g}" if number else value
    view = View(kind, {key: value for key, value in parameters.items() if value != made.defaults.get(key)})
    try:
        made.check(**view.own)
    except ValueError as error:
        raise SettingError(f"{setting} {text}: {error}") from error
    if "region" in parameters:
        view.policy("padded")  # an unknown policy is refused
    return view


def _known() -> str:
    return f"{', '.join(VIEWS)}, or a group of them: {', '.join(GROUPS)}"
