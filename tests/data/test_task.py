"""Tasks: which of the views that are asked for a benchmark can be shown."""

from __future__ import annotations

from dataclasses import replace

import pytest
from PIL import Image

from gapbench.data import catalogue
from gapbench.data.task import Task, TaskSettings, _with_possible_views, make_task
from gapbench.errors import BenchmarkError
from gapbench.views.views import parse_views


def task(views: str, region: str, boxes: bool) -> Task:
    """Two samples that ship their crops, with boxes or without."""
    made = make_task(catalogue.load("signs:canvas=300"), TaskSettings(parse_views(views), 2, region))
    crop = Image.new("RGB", (9, 9))
    changes = {} if boxes else {"boxes": ()}
    return replace(made, samples=tuple(replace(sample, crop_image=crop, **changes) for sample in made.samples))


def names(of: Task) -> list[str]:
    return [view.name for view in of.views]


def test_a_group_on_shipped_crops_takes_boxes_where_a_view_has_parameters_of_a_region() -> None:
    (with_boxes,) = _with_possible_views([task("factorial", "native", boxes=True)])
    assert names(with_boxes) == [view.name for view in parse_views("factorial")]
    assert with_boxes.entry()["views"]["crop:factor=2"] == {"region": "padded:factor=2"}
    assert with_boxes.entry()["views"]["crop"] == {"region": "native"}


def test_a_view_that_no_sample_has_evidence_for_is_left_out_with_a_warning_if_others_remain() -> None:
    with pytest.warns(UserWarning, match=r"no.* samples has an evidence box, so view 'crop:factor=2'.* are asked"):
        (without,) = _with_possible_views([task("full,crop,crop:factor=2", "native", boxes=False)])
    assert names(without) == ["full", "crop"]
    with pytest.raises(BenchmarkError, match="so view 'crop:factor=2' with region policy 'padded' cannot be shown"):
        _with_possible_views([task("full,crop:factor=2", "native", boxes=False)])
