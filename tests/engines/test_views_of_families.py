"""Every view on tiny real checkpoints of every family: answered, or not available with the reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_models import FAMILIES

from engines.loads import transformers
from engines.test_several_images import FEWER_TOKENS
from engines.test_transformers import ATTENTION, image
from gapbench.engines.visual_tokens import counter
from gapbench.runs.session import evidence_tokens
from gapbench.types import Request, Sample
from gapbench.views.kinds import VIEWS
from gapbench.views.pixels import Pixels
from gapbench.views.prefetch import Pending, prepared
from gapbench.views.views import View

GROWS = frozenset({"qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_5", "glm4v", "glm4v_moe", "glm46v", "kimi_k25",
                   "lfm2_vl"})  # fmt: skip
"""Families that make more tokens of a larger image, as they are built here."""
NEEDS_IMAGE = frozenset({"paligemma"})
"""Families whose processor takes no prompt without an image."""
SAMPLE = Sample("1", image(1, (100, 60)), "What?", ("yes",), boxes=((60.0, 10.0, 80.0, 30.0),), box_format="xyxy")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_view_is_answered_with_the_processors_tokens_or_says_why_not(
    family: str, tiny: Callable[[str], Path]
) -> None:
    engine = transformers.load(str(tiny(family)), max_new_tokens=2, attn_implementation=ATTENTION.get(family))
    tokens = counter(engine)
    views = tuple((View(kind), 0) for kind in VIEWS)
    (ready,) = prepared([Pending("b", SAMPLE, "padded", "What?", views)], Pixels(), tokens=tokens)
    answers = dict(engine.generate(Request(v.view.name, v.images, v.prompt, v.error) for v in ready.views))
    assert answers.keys() == VIEWS.keys()

    failed = {name: answer.error for name, answer in answers.items() if answer.error}
    expected = set() if family in GROWS else {"full_up", "full_up_mask"}
    assert failed.keys() == (expected | {"blind"} if family in NEEDS_IMAGE else expected), failed
    for name, reason in failed.items():
        assert ("without an image" if name == "blind" else "so it sees no more") in reason

    for shown in ready.views:
        answer = answers[shown.view.name]
        if answer.error:
            continue
        alone = [tokens(picture.size) for picture in shown.images]
        several_are_cut = family in FEWER_TOKENS and len(alone) > 1
        assert (answer.image_tokens == sum(n or 0 for n in alone)) != several_are_cut, shown.view.name
        on_evidence = evidence_tokens(shown, answer, tokens)
        if several_are_cut:
            assert on_evidence is None
        else:
            shares = zip(shown.evidence, alone, strict=False)
            assert on_evidence == pytest.approx(sum(share * (n or 0) for share, n in shares), abs=1e-3)
            assert (on_evidence > 0) == (shown.view.kind not in ("hide", "blank", "blind", "random_crop"))
    assert answers["mask"].image_tokens == answers["full"].image_tokens
