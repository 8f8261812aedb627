"""Which prompts share a batch, and that threads change nothing about it."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tiny_models import FAMILIES

from engines.loads import transformers
from engines.test_transformers import image, requests
from gapbench.engines import models, prompt_batches
from gapbench.engines.chat import Chat, make_chat
from gapbench.engines.prompt_batches import PADDING, PromptLengths, first_batch
from gapbench.engines.transformers import TransformersEngine
from gapbench.types import Request


@pytest.mark.parametrize("free", [0, 500])
def test_padding_and_tokens_of_a_batch_are_bounded_and_no_prompt_is_left_out(free: int) -> None:
    rng = random.Random(5)
    for _ in range(200):
        lengths = sorted(rng.choice((rng.randint(20, 120), rng.randint(20, 9000))) for _ in range(rng.randint(1, 90)))
        limit, budget = rng.randint(1, 64), rng.randint(100, 60_000)
        taken, at = [], 0
        while at < len(lengths):
            size = first_batch(lengths[at:], limit, budget, free)
            batch = lengths[at : at + size]
            assert 1 <= size <= limit
            if size > 1:
                assert size * batch[-1] <= budget
                assert size * batch[-1] - sum(batch) <= max(PADDING * sum(batch), free)
            taken += batch
            at += size
        assert taken == lengths


def test_crops_do_not_share_a_batch_with_full_views_but_a_few_tokens_of_padding_are_free() -> None:
    crops, full = [112] * 20, [1812] * 20
    assert first_batch(crops + full, 64, 131_072, 4_096) == 20
    assert first_batch(crops[:1] + full, 64, 131_072, 4_096) == 21, "a batch of one crop would cost more than padding"
    assert first_batch(crops + full, 8, 131_072, 4_096) == 8


@pytest.fixture
def chat(tiny: Callable[[str], Path]) -> Callable[[str], Chat]:
    return lambda family: make_chat(models.load(str(tiny(family))))


@pytest.mark.parametrize("family", ["qwen3_vl", "gemma4", "llava", "internvl"])
def test_the_estimate_of_a_prompt_is_near_its_tokens(family: str, chat: Callable[[str], Chat]) -> None:
    known = chat(family)
    estimate = PromptLengths(known)
    for size in ((40, 40), (100, 60), (150, 150), (300, 260), (700, 500)):
        request = Request(0, (image(1, size),), "Which colour is the sign?")
        tokens = known.batch([(request.images, request.prompt)])["input_ids"].shape[1]
        assert tokens / 1.35 - 8 <= estimate(request) <= 1.35 * tokens + 8, size


def test_an_image_that_no_processor_takes_is_estimated_all_the_same(chat: Callable[[str], Chat]) -> None:
    assert PromptLengths(chat("qwen3_vl"))(Request(0, (Image.new("RGB", (4000, 2)),), "What?")) > 0


def same(a: Any, b: Any) -> bool:
    return list(a) == list(b) and all(
        torch.equal(a[name], b[name]) if isinstance(a[name], torch.Tensor) else a[name] == b[name] for name in a
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_threads_make_the_very_same_batch(
    family: str, chat: Callable[[str], Chat], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompt_batches, "LARGE", 1)
    monkeypatch.setattr(prompt_batches, "THREADS", 3)
    whole = chat(family)
    threaded = prompt_batches.with_threads(whole, torch.float32)
    for sizes in ([(100, 60), (64, 150), (200, 200), (48, 48), (300, 80)], [(90, 90)] * 3, [(300, 200), (200, 300)]):
        prompts = [((image(n, size),), "What? " * (n + 1)) for n, size in enumerate(sizes)]
        assert same(threaded.batch(prompts), whole.batch(prompts))
    kept = threaded.processor.image_processor.preprocess.equal
    assert kept, "no thread was used"
    assert all(kept.values())
    several = [((image(0, (90, 90)), image(1, (120, 64))), "Same?"), ((image(2, (64, 64)),), "What?")]
    assert same(threaded.batch(several), whole.batch(several))


def test_a_processor_that_looks_at_the_whole_batch_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_batches, "LARGE", 1)

    def whole(images: list[Image.Image]) -> dict[str, Any]:
        brightness = torch.tensor([[float(sum(i.getpixel((0, 0)))), 1.0] for i in images])  # type: ignore[arg-type]
        return {"pixel_values": brightness - brightness.mean(0)}

    with ThreadPoolExecutor(2) as pool:
        threaded = prompt_batches._Threaded(whole, torch.float32, pool)
        images = [image(n, (60, 60)) for n in range(4)]
        for _ in range(2):
            assert same(threaded(images), whole(images))
    assert threaded.equal == {False: False}


def test_an_image_is_processed_once_though_the_budget_splits_what_is_asked(
    tiny: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(transformers.TOKEN_BUDGET, "cpu", 300)
    sizes: list[int] = []
    inputs = TransformersEngine._inputs

    def counted(self: TransformersEngine, group: list[Request]) -> Any:
        made = inputs(self, group)
        sizes.append(made["input_ids"].numel() if len(group) > 1 else 0)
        asked.extend(r.key for r in group)
        return made

    asked: list[Any] = []
    monkeypatch.setattr(TransformersEngine, "_inputs", counted)
    few = requests(24)
    answers = dict(transformers.load(str(tiny("qwen3_vl")), max_new_tokens=4).generate(few))
    assert sorted(asked) == sorted(answers) == list(range(24))
    assert len(sizes) > 3
    assert max(sizes) <= 1.35 * 300, "the budget is kept, as well as lengths are estimated"
    alone = dict(transformers.load(str(tiny("qwen3_vl")), max_new_tokens=4, batch_size=1).generate(few))
    assert {k: a.text for k, a in answers.items()} == {k: a.text for k, a in alone.items()}


def test_processed_batches_that_wait_are_bounded_in_bytes(
    tiny: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gapbench.engines.transformers.AHEAD_BYTES", 1)
    made: list[int] = []
    inputs = TransformersEngine._inputs
    monkeypatch.setattr(TransformersEngine, "_inputs", lambda self, group: made.append(1) or inputs(self, group))
    engine = transformers.load(str(tiny("qwen3_vl")), max_new_tokens=2, batch_size=1)
    answers = engine.generate(requests(20))
    for number, _ in enumerate(answers, 1):
        assert len(made) <= number + 2, "one waits, and one is being made"
    assert len(made) == 20


def test_a_batch_far_over_the_budget_is_split_though_its_lengths_were_estimated_as_short(
    tiny: Callable[[str], Path],
) -> None:
    engine = transformers.load(str(tiny("qwen3_vl")))
    four = [Request(n, (image(n, (200, 200)),), "What?") for n in range(4)]
    whole = 4 * len(engine.prompt_ids(four[0]))
    engine._length, engine._budget = (lambda request: 1), whole // 4
    sizes = [len(group) for group, inputs, _ in engine._prepare(four) if inputs is not None]
    assert sizes == [2, 2], "twice the budget is tolerated, four times is not"
