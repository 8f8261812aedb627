"""Evidence boxes that are the whole image are counted before a training, and nothing else than them is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from distillation.small import benchmark, recipe, scene
from gapbench.distillation.pairs import Pairs
from gapbench.distillation.whole_crops import whole_crops
from gapbench.errors import BenchmarkError
from gapbench.types import Sample

SCENES = [scene(i) for i in range(4)]


def whole(sample: Sample) -> Sample:
    return replace(sample, boxes=((0.0, 0.0, *map(float, sample.image.size)),))


def said(samples: list[Sample], **changes: Any) -> str:
    return whole_crops(Pairs(benchmark(samples), recipe(**changes)))


def test_evidence_that_is_a_part_of_the_image_is_not_mentioned() -> None:
    assert said(SCENES) == ""


def test_the_number_of_crops_that_are_the_whole_image_is_said_with_a_remedy() -> None:
    text = said([whole(SCENES[0]), whole(SCENES[1]), *SCENES[2:]])
    assert text.startswith("patches: for 2 of 4 samples the crop is the whole image (region 'padded:factor=1.1'), such")
    assert text.endswith("such as q0; the teacher sees no more than the student there. Draw the boxes around the "
                         "evidence alone, or set a smaller region.")  # fmt: skip


@pytest.mark.parametrize(
    "changed",
    [
        replace(SCENES[0], boxes=((0, 0, 1, 1),), box_format="xyxy_normalised"),
        replace(SCENES[0], boxes=((0, 0, 1000, 1000),), box_format="xywh_thousand"),
        replace(SCENES[0], boxes=((1, 1, 99, 59),)),  # the padding reaches the border
        replace(whole(SCENES[0]), image=lambda: SCENES[0].image),
    ],
    ids=["normalised", "thousand", "padded", "lazy"],
)
def test_the_crop_counts_whatever_the_boxes_look_like(changed: Sample) -> None:
    assert "for 1 of 4" in said([changed, *SCENES[1:]])


def test_data_of_which_every_crop_is_the_whole_image_is_refused() -> None:
    with pytest.raises(BenchmarkError, match=r"for 4 of 4 samples .* nothing can be learnt from it\. Draw the boxes"):
        said([whole(s) for s in SCENES])


def test_crops_that_come_with_the_data_are_compared_by_size() -> None:
    samples = [replace(s, crop_image=s.image if i < 1 else s.image.resize((9, 9))) for i, s in enumerate(SCENES)]
    assert "for 1 of 4" in said(samples, region="native")


@pytest.mark.parametrize("views", [{"teacher_view": "boxed"}, {"student_view": "crop"}])
def test_it_matters_only_where_one_side_sees_the_crop_and_the_other_the_image(views: dict[str, str]) -> None:
    assert said([whole(s) for s in SCENES], **views) == ""


def test_an_image_that_cannot_be_read_does_not_count() -> None:
    assert said([replace(whole(SCENES[0]), image="gone.png"), *SCENES[1:]]) == ""
