"""Several images in one sample, on tiny real checkpoints of every family that transformers is known to run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import FAMILIES

import gapbench
from engines.loads import transformers
from engines.test_transformers import ATTENTION, image
from gapbench.engines.chat import place
from gapbench.engines.local import FAIL_FAST_AFTER
from gapbench.engines.transformers import TransformersEngine
from gapbench.types import Request
from gapbench.views.pixels import Pixels

ONE, TWO, OTHER = image(1, (100, 60)), image(2, (64, 150)), image(3, (200, 200))
FEWER_TOKENS = frozenset({"llava_onevision"})
"""Families that cut an image into tiles only where it is alone: with others it is sent small and whole."""


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_sees_both_of_two_images_and_which_comes_first(family: str, tiny: Callable[[str], Path]) -> None:
    engine = transformers.load(str(tiny(family)), attn_implementation=ATTENTION.get(family))

    @torch.inference_mode()
    def logits(*images: Any) -> torch.Tensor:
        inputs = engine.chat.batch([(images, "What is this?")])
        last: torch.Tensor = engine.loaded.model(**place(inputs, engine.loaded.model)).logits[0, -1]
        return last

    def tokens(*images: Any) -> int:
        return int((engine.chat.batch([(images, "What is this?")])["input_ids"] == engine._replies.image_token).sum())

    reference_logits = logits(ONE, TWO)
    for changed in ((OTHER, TWO), (ONE, OTHER), (TWO, ONE), (ONE,), (TWO,)):
        assert (logits(*changed) - reference_logits).abs().max() > 0.1 * reference_logits.std()
    assert (tokens(ONE, TWO) < tokens(ONE) + tokens(TWO)) == (family in FEWER_TOKENS)
    assert tokens(ONE, TWO) <= tokens(ONE) + tokens(TWO)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_answers_a_mix_of_one_and_two_images_as_alone(family: str, tiny: Callable[[str], Path]) -> None:
    sizes = ((100, 60), (48, 48), (64, 150), (200, 200), (90, 90), (60, 130))
    images = [image(i, size) for i, size in enumerate(sizes)]
    image_indices = [(0,), (1, 2), (3,), (4, 5), (2, 0), (1,)]
    request_list = [
        Request(i, tuple(images[k] for k in which), "What is this? " + "Answer with one word. " * (i % 3))
        for i, which in enumerate(image_indices)
    ]
    attention = ATTENTION.get(family)
    together, alone = (
        dict(
            transformers.load(
                str(tiny(family)), max_new_tokens=6, batch_size=size, attn_implementation=attention
            ).generate(request_list)
        )
        for size in (6, 1)
    )
    assert {k: a.text for k, a in together.items()} == {k: a.text for k, a in alone.items()}
    for key, which in enumerate(image_indices):
        answer = together[key]
        assert not answer.error
        assert answer.images == len(which)
        assert answer.sent_size == sizes[which[0]]
        assert answer.sent_pixels == sum(sizes[k][0] * sizes[k][1] for k in which)
        assert answer.image_tokens == alone[key].image_tokens


@pytest.fixture
def engine(tiny: Callable[[str], Path]) -> Callable[..., TransformersEngine]:
    return lambda **settings: transformers.load(str(tiny("qwen3_vl")), **{"max_new_tokens": 4, **settings})


def test_pixel_bounds_hold_for_each_image(engine: Callable[..., Any]) -> None:
    images = map(Pixels(max_pixels=20_000).apply, (image(1, (400, 200)), image(2, (50, 50))))
    answer = dict(engine().generate([Request("a", tuple(images), "What?")]))["a"]
    assert answer.sent_size == (200, 100)
    assert answer.sent_pixels == 200 * 100 + 50 * 50


def template(engine: TransformersEngine, path: Path, change: Callable[[str], str]) -> Path:
    path.write_text(change(engine.loaded.processor.chat_template))
    return path


COUNT = "messages[0].content | selectattr('type', 'equalto', 'image') | list | length"


def refuses(own: str) -> str:
    """A chat template that takes one image, as those of some models do."""
    return f"{{% if {COUNT} > 1 %}}{{{{ raise_exception('Only one image is supported') }}}}{{% endif %}}{own}"


def forgets(own: str) -> str:
    """A chat template that shows the first image alone and says nothing."""
    return own.replace("item.type == 'image'", "item.type == 'image' and loop.first").replace(
        "{% else %}{{ item.text }}", "{% elif item.type == 'text' %}{{ item.text }}"
    )


@pytest.mark.parametrize(("change", "says"), [(refuses, "Only one image is supported"), (forgets, "do not match")])
def test_where_two_images_cannot_be_shown_those_requests_fail_alone_and_say_so(
    engine: Callable[..., Any], tmp_path: Path, change: Callable[[str], str], says: str
) -> None:
    path = template(engine(), tmp_path / "one.jinja", change)
    two = [Request(i, (ONE, TWO), "What?") for i in range(FAIL_FAST_AFTER + 4)]
    one = [Request("one", (OTHER,), "What?"), Request("none", (), "What?")]
    answers = dict(engine(chat_template=path, batch_size=4).generate([*two, *one]))
    assert len(answers) == len(two) + 2
    assert not answers["one"].error
    assert not answers["none"].error
    for request in two:
        error = answers[request.key].error
        assert says in error
        assert "2 images of (100, 60), (64, 150) px in one prompt" in error
        assert "Not every model takes several" in error
        assert answers[request.key].images == 2


# --- through measure ------------------------------------------------------------------------------------------


def write_scene(folder: Path) -> Path:
    """Three samples of one image: with two evidence boxes, one, and none."""
    image(7, (300, 200)).save(folder / "scene.png")
    boxes_by_sample = [[[10, 10, 40, 30], [250, 150, 290, 190]], [[100, 100, 120, 120]], []]
    rows = [
        {"id": f"q{i}", "image": "scene.png", "question": "Is it?", "answer": "yes", "answer_type": "yes_no"}
        | ({"bboxes": boxes, "bbox_format": "xyxy"} if boxes else {})
        for i, boxes in enumerate(boxes_by_sample)
    ]
    path = folder / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_multi_and_mosaic_are_measured_and_recorded(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    mine = str(write_scene(tmp_path))
    records = {}
    for policy in ("multi", "mosaic"):
        region = f"{policy}:factor=1,min_side=1"
        run = gapbench.measure(
            str(tiny("qwen3_vl")), mine, region=region, out=tmp_path / policy, max_new_tokens=2, min_pixels=1024
        )
        records[policy] = run.frame().set_index(["sample", "view"])
    multi, mosaic = records["multi"].loc[("q0", "crop")], records["mosaic"].loc[("q0", "crop")]
    assert (multi["images"], mosaic["images"]) == (2, 1)
    assert list(multi["region"]) == list(mosaic["region"]) == [10, 10, 290, 190]
    assert multi["region_area"] == mosaic["region_area"] == (30 * 20 + 40 * 40) / (300 * 200)
    assert multi["sent_pixels"] == pytest.approx(1024 + 40 * 40, rel=0.1)
    assert mosaic["sent_size"] == (40, 20 + 8 + 40), "one above the other is nearer to a square"
    single = records["multi"].loc[("q1", "crop")]
    assert (single["images"], single["sent_size"]) == (1, (32, 32))
    for frame in records.values():
        assert frame.loc[("q0", "full")]["images"] == 1
        assert frame.loc[("q2", "crop")]["outcome"] == "failed"
    thumbnails = list((tmp_path / "multi" / "thumbnails").glob("*-crop.jpg"))
    assert len(thumbnails) == 2


PAIRS = """
from PIL import Image
from gapbench import Card, Sample

CARD = Card(name="pairs", title="Pairs", source="here", licence="own")


def samples():
    for i in range(3):
        first, second = Image.new("RGB", (60 + i, 60), "red"), Image.new("RGB", (80, 50), (0, 0, 40 * i))
        yield Sample(id=f"p{i}", image=first, more_images=(second,), question="Alike?", answers=("yes",),
                     answer_type="yes_no", boxes=((5, 5, 45, 45),))
    yield Sample(id="lost", image=first, more_images=("nowhere.png",), question="Alike?", answers=("yes",),
                 answer_type="yes_no")
"""


def test_samples_of_several_images_are_measured_and_one_without_its_second_fails_alone(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    path = tmp_path / "pairs.py"
    path.write_text(PAIRS)
    run = gapbench.measure(str(tiny("qwen3_vl")), str(path), out=tmp_path / "run", max_new_tokens=2, region="union",
                           selfcheck=False)  # fmt: skip
    frame = run.frame().set_index(["sample", "view"])
    full, crop = frame.loc[("p1", "full")], frame.loc[("p1", "crop")]
    assert (full["images"], full["sent_size"], full["sent_pixels"]) == (2, (61, 60), 61 * 60 + 80 * 50)
    assert (crop["images"], crop["sent_size"], crop["sent_pixels"]) == (1, (40, 40), 1600)
    lost = frame.loc[("lost", "full")]
    assert (lost["outcome"], lost["images"]) == ("failed", 0)
    assert "image 2 of 2: image nowhere.png" in lost["reason"]
    assert (frame["outcome"] == "failed").sum() == 2, "both views of the one that is lost"


def test_a_model_that_takes_one_image_is_measured_to_the_end(
    tiny: Callable[[str], Path], engine: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "pairs.py"
    path.write_text(PAIRS)
    one = template(engine(), tmp_path / "one.jinja", refuses)
    run = gapbench.measure(
        str(tiny("qwen3_vl")), str(path), out=tmp_path / "run", max_new_tokens=2, region="union", chat_template=one
    )
    frame = run.frame().set_index(["sample", "view"])
    for sample in ("p0", "p1", "p2"):
        assert frame.loc[(sample, "full")]["outcome"] == "failed"
        assert "2 images" in frame.loc[(sample, "full")]["reason"]
        assert frame.loc[(sample, "crop")]["outcome"] != "failed"
