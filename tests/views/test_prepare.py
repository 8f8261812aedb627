"""A prepared sample: images decoded once, evidence normalised, failures kept as text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import shown
from PIL import Image

from gapbench.runs.session import to_record
from gapbench.types import Answer, Sample
from gapbench.views.prepare import prepare


def noise(seed: int, size: tuple[int, int] = (80, 60)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def sample(**changes: Any) -> Sample:
    fields: dict[str, Any] = {"id": "s", "image": noise(0), "question": "Is it?", "answers": ("yes",),
                             "answer_type": "yes_no", "boxes": ((10.0, 10.0, 30.0, 25.0),)}  # fmt: skip
    return Sample(**{**fields, **changes})


def test_a_sample_of_one_image_shows_it_and_its_region() -> None:
    prepared = prepare(sample(), "union")
    assert prepared.images == (prepared.image,)
    assert (prepared.error, prepared.region_error) == ("", "")
    assert shown(prepared, "full") == (prepared.images, "")
    (crop,), error = shown(prepared, "crop")
    assert (crop.size, error) == ((20, 15), "")


def test_further_images_are_decoded_in_their_order() -> None:
    several = sample(more_images=(noise(1, (30, 20)), noise(2, (20, 30))))
    prepared = prepare(several, "union")
    assert [p.size for p in prepared.images] == [(80, 60), (30, 20), (20, 30)]
    assert prepared.image is prepared.images[0]


def test_the_hash_of_several_images_tells_each_of_them_and_their_order() -> None:
    a, b, c = noise(0), noise(1), noise(2)

    def image_hash(*images: Image.Image) -> str:
        return prepare(sample(image=images[0], more_images=images[1:]), "union").image_hash

    hashes = [image_hash(*p) for p in ((a,), (a, b), (b, a), (a, c), (a, b, c))]
    assert len(set(hashes)) == 5
    assert {len(h) for h in hashes} == {24}
    assert image_hash(a, b) == hashes[1]


def test_an_image_that_consecutive_samples_share_is_decoded_once(tmp_path: Path) -> None:
    noise(0).save(tmp_path / "a.png")
    noise(1).save(tmp_path / "b.png")
    a, b = tmp_path / "a.png", tmp_path / "b.png"
    first = prepare(sample(image=a), "union")
    second = prepare(sample(image=str(a), boxes=((0.0, 0.0, 9.0, 9.0),)), "union", first)
    assert second.image is first.image
    assert second.image_hash == first.image_hash
    assert second.boxes != first.boxes
    both = prepare(sample(image=b, more_images=(a,)), "union", second)
    assert both.images[1] is first.image
    turned = prepare(sample(image=a, more_images=(b,)), "union", both)
    assert turned.images == both.images[::-1]
    assert turned.image_hash != both.image_hash
    assert prepare(sample(image=b), "union", first).image is not first.image


def test_an_image_that_cannot_be_read_is_named_by_its_number_among_several() -> None:
    alone = prepare(sample(image=b"nonsense"), "union")
    among = prepare(sample(more_images=(noise(1), b"nonsense")), "union")
    assert alone.error.startswith("image given as bytes")
    assert among.error.startswith("image 3 of 3: image given as bytes")
    for prepared in (alone, among):
        assert (prepared.image, prepared.image_hash) == (None, "")
        assert shown(prepared, "full") == ((), prepared.error)


@pytest.mark.parametrize("policy", ["padded", "union", "square", "multi", "mosaic"])
def test_boxes_outside_the_image_are_named_as_published(policy: str) -> None:
    prepared = prepare(sample(boxes=((100.0, 20.0, 30.0, 40.0), (5.0, 5.0, 0.0, 8.0)), box_format="xywh"), policy)
    for part in ("[100.0, 20.0, 30.0, 40.0]", "[5.0, 5.0, 0.0, 8.0]", "(xywh)", "80 x 60 px", "Check the box format"):
        assert part in prepared.region_error
    assert shown(prepared, "crop") == ((), prepared.region_error)
    assert shown(prepared, "full") == (prepared.images, "")


def test_a_sample_without_a_box_says_so() -> None:
    assert "no evidence box" in prepare(sample(boxes=()), "padded").region_error


def test_a_shipped_crop_needs_no_box_and_is_read_only_where_it_is_shown() -> None:
    shipped = sample(boxes=((0.0, 0.0, 0.0, 0.0),), crop_image=noise(3, (9, 7)))
    prepared = prepare(shipped, "native")
    assert [p.size for p in shown(prepared, "crop")[0]] == [(9, 7)]
    assert "ships no crop" in prepare(sample(crop_image=None), "native").region_error
    broken = replace(sample(), crop_image=b"nonsense")
    assert prepare(broken, "union").region_error == ""
    assert "given as bytes" in prepare(broken, "native").region_error


def test_an_image_larger_than_the_guard_is_read_where_the_sample_allows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    large = sample(image=_png(noise(0)), more_images=(_png(noise(1)),))
    assert "image 1 of 2" in prepare(large, "union").error
    assert len(prepare(replace(large, max_image_pixels=80 * 60), "union").images) == 2


def _png(image: Image.Image) -> bytes:
    import io

    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def test_the_record_keeps_what_was_sent_and_covered() -> None:
    boxes = ((0.0, 0.0, 20.0, 10.0), (10.0, 0.0, 30.0, 10.0))
    prepared = prepare(sample(boxes=boxes, evidence="model"), "multi:factor=1,min_side=1")
    answer = Answer(text="yes", images=2, sent_size=(20, 10), sent_pixels=400, image_tokens=8)
    record = to_record("b", prepared, "crop", 0, answer)
    assert (record.images, record.sent_size, record.sent_pixels, record.image_tokens) == (2, (20, 10), 400, 8)
    assert record.region == (0, 0, 30, 10)
    assert record.region_area == record.evidence_area == 300 / 4800
    assert record.evidence == "model"
    assert to_record("b", prepare(sample(boxes=()), "union"), "full", 0, answer).evidence == ""


def test_the_record_keeps_the_annotated_boxes_that_a_model_s_boxes_replaced() -> None:
    found = sample(boxes=((0.0, 0.0, 9.0, 9.0),), evidence="model", annotated=((1, 2, 3, 4),), annotated_format="xywh")
    assert to_record("b", prepare(found, "union"), "crop", 0, Answer()).annotated_boxes == ((1, 2, 4, 6),)
    faulty = replace(found, annotated=((1, 2, 3),))  # type: ignore[arg-type]
    assert to_record("b", prepare(faulty, "union"), "crop", 0, Answer()).annotated_boxes == ()
    assert to_record("b", prepare(sample(), "union"), "crop", 0, Answer()).annotated_boxes == ()


def test_a_sample_without_images_gives_the_same_record() -> None:
    """The run loop keeps hundreds of samples without images while a model works: an 8K image takes 100 MB."""
    shipped = sample(more_images=(noise(1),), crop_image=noise(3, (9, 7)))
    for complete in (prepare(sample(), "padded"), prepare(shipped, "native"), prepare(sample(image=b"no"), "union")):
        bare = complete.without_images()
        assert (bare.images, bare.encoded, bare.image) == ((), (), None)
        assert bare.region is None or bare.region.image is None
        answers = [to_record("b", prepared, "crop", 0, Answer("yes", seconds=1.0)) for prepared in (complete, bare)]
        assert answers[0] == answers[1]


def test_stored_bytes_follow_their_image_to_the_next_sample() -> None:
    data = _png(noise(0))
    first = prepare(sample(image=data, more_images=(noise(1),)), "union")
    second = prepare(sample(image=data), "union", first)
    assert first.encoded == (data, None)
    assert second.encoded == (data,)
    assert second.images == first.images[:1]


def test_after_an_image_that_could_not_be_read_the_next_is_tried_again() -> None:
    broken = prepare(sample(image=b"nonsense"), "union")
    assert prepare(sample(image=b"nonsense"), "union", broken).error == broken.error
    assert prepare(sample(), "union", broken).error == ""
