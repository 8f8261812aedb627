"""`show` says what is known about a benchmark, and the catalogue's table is made from the same cards."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from gapbench.data.benchmark import Benchmark
from gapbench.data.cards import card_text, catalogue_table
from gapbench.data.catalogue import FOLDER, load, names
from gapbench.types import Card, Protocol, Published, Sample

CARD = Card("own", "Own", "nowhere", "CC0")


def test_the_card_is_shown_with_parameters_and_prompt() -> None:
    text = card_text(load("signs"))
    assert "licence     Apache-2.0" in text
    assert "split='test', samples=1000, seed=0, canvas=1344" in text
    assert "trap " in text
    assert "(A) " in text
    assert text.endswith("Answer with the option's letter from the given choices directly.")


def test_a_card_is_shown_even_where_its_data_is_missing() -> None:
    def offline() -> list[Sample]:
        raise ConnectionError("no network")

    text = card_text(Benchmark("own", CARD, offline))
    assert "licence     CC0" in text
    assert "no example: own: its samples() failed with ConnectionError: no network" in text


def test_protocols_are_shown_with_their_metric_their_source_and_their_prompt() -> None:
    protocol = Protocol("Look closely: {published}", metric="category_mean", source="somewhere", note="Greedy here.")
    text = card_text(Benchmark("own", Card("own", "Own", "nowhere", "CC0", protocols={"original": protocol}), list))
    assert "protocol    original, by category_mean. From somewhere. Greedy here." in text
    assert "Look closely: {published}" in text


def test_published_scores_are_shown_with_their_source_and_prompt() -> None:
    reference = (
        Published("Qwen3.5-4B", 84.29, "a paper", protocol="vision-opd"),
        Published("Qwen3.5-4B", 25.0, "a fork", view="gap", part="ocr", metric="category_mean", note="reported"),
    )
    text = card_text(Benchmark("own", Card("own", "Own", "nowhere", "CC0", reference=reference), list))
    assert "  published   Qwen3.5-4B: full 84.29 (a paper; prompt vision-opd)\n" in text
    assert "  published   Qwen3.5-4B: gap ocr category_mean 25 (a fork; prompt not known; reported)\n" in text


def test_published_scores_of_older_cards_are_shown_as_the_texts_that_they_are() -> None:
    card = Card("own", "Own", "nowhere", "CC0", reference={"Qwen3.5-4B": "84.29 (a paper)"})
    assert "published   Qwen3.5-4B: 84.29 (a paper)\n" in card_text(Benchmark("own", card, list))


def test_the_declared_box_format_is_shown() -> None:
    def format_line(card: Card, *samples: Sample) -> list[str]:
        lines = card_text(Benchmark("own", card, lambda: iter(samples))).splitlines()
        return [line.strip() for line in lines if "box format" in line]

    sample = Sample("1", "image.png", "Which?", ("a",), boxes=((1.0, 2.0, 3.0, 4.0),))
    assert format_line(CARD, sample) == ["box format  xyxy"]
    assert format_line(Card("own", "Own", "nowhere", "CC0", box_format="xywh"), sample) == ["box format  xywh"]
    own = replace(sample, box_format="xywh_normalised")
    assert format_line(CARD, own) == ["box format  xywh_normalised, as the first sample declares"]
    assert format_line(Card("own", "Own", "nowhere", "CC0", role="hold-out"), replace(sample, boxes=())) == []


def test_a_card_says_with_which_real_data_it_was_compared_or_that_nobody_did() -> None:
    done = replace(CARD, checked="all rows of the file")
    assert "checked     all rows of the file\n" in card_text(Benchmark("own", done, list))
    assert "checked     nobody has compared this card" in card_text(Benchmark("own", CARD, list))
    assert catalogue_table([done, CARD]).count("**nothing yet**") == 1


def test_showing_a_card_fetches_nothing() -> None:
    def samples(data: Path) -> list[Sample]:
        raise AssertionError("the data was asked for")

    text = card_text(Benchmark("own", Card("own", "Own", "nowhere", "CC0", hub="owner/name"), samples))
    assert "hub         owner/name" in text
    assert "neutral:" in text


def test_the_table_of_the_catalogue_is_the_one_in_its_readme() -> None:
    table = catalogue_table([load(name).card for name in names()])
    assert table in (FOLDER / "README.md").read_text(encoding="utf-8"), "gapbench benchmarks list --markdown"


def test_a_restricted_licence_is_marked_in_the_table() -> None:
    card = Card("own", "Own", "nowhere", "academic", restricted="No redistribution.")
    assert "| academic (**restricted**) |" in catalogue_table([card])
