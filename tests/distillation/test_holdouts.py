"""Which hold-outs are measured by default: those on this machine, the smallest first; and what is said of others."""

from __future__ import annotations

import pytest

from gapbench.data import catalogue
from gapbench.data.benchmark import Benchmark
from gapbench.distillation.holdouts import MOST, default_holdouts

HUB = ("blink", "cvbench", "mmstar", "mmvp", "pope", "realworldqa")


@pytest.fixture
def on_this_machine(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The names of the hold-outs of the Hub that count as downloaded."""
    names: set[str] = set()
    local = property(lambda self: not self.card.hub or self.name in names)
    monkeypatch.setattr(Benchmark, "is_local", local)
    return names


@pytest.mark.usefixtures("on_this_machine")
def test_the_drawn_one_is_always_there_and_the_others_are_named() -> None:
    chosen, text = default_holdouts(None)
    assert chosen == ["signs_colour"]
    assert text == (
        "hold-outs, measured before and after: signs_colour (--no-holdout leaves them out). Not on this machine: "
        f"{', '.join(HUB)}; --eval NAME fetches and measures one"
    )


def test_the_smallest_are_taken_first_up_to_a_number_of_samples(on_this_machine: set[str]) -> None:
    on_this_machine.update(HUB)
    chosen, text = default_holdouts(None)
    assert chosen == ["signs_colour", "mmvp", "realworldqa"]
    assert sum(catalogue.load(name).card.expected["samples"] for name in chosen) <= MOST
    assert "Not on this machine" not in text
    assert set(default_holdouts(100)[0]) == {"signs_colour", *HUB}, "of each, no more than the limit is asked"


def test_a_model_that_knows_drawn_scenes_alone_is_asked_for_no_other(on_this_machine: set[str]) -> None:
    on_this_machine.update(HUB)
    chosen, text = default_holdouts(None, drawn_only=True)
    assert chosen == ["signs_colour"]
    assert "Not on this machine" not in text


def test_where_there_is_none_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Benchmark, "is_local", property(lambda self: False))
    chosen, text = default_holdouts(None)
    assert chosen == []
    assert text.startswith("no hold-out is measured (--no-holdout silences this). Not on this machine: blink, ")


def test_the_drawn_hold_out_has_no_boxes_and_asks_what_no_training_of_glance_asks() -> None:
    samples = catalogue.load("signs_colour").samples(20)
    trained = catalogue.load("signs:split=train").samples(20)
    assert {sample.category for sample in samples} == {"colour"}
    assert not any(sample.boxes or sample.crop_image for sample in samples)
    assert len({sample.cluster for sample in samples}) == 20
    assert not {sample.id for sample in samples} & {sample.id for sample in trained}
