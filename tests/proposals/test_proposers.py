"""Replies are read as data: what is no fact or no question is dropped."""

from __future__ import annotations

import json
from typing import Any

import pytest
from helpers import HOSTILE

from gapbench.errors import SettingError
from gapbench.proposals.facts import agree, may_be
from gapbench.proposals.proposers import PROPOSERS, find, parse_wordings, wordings_like

LISTING, ASKING = PROPOSERS["listing"], PROPOSERS["describe-then-ask"]
MUG = {"name": "mug", "attribute": "red", "text": "MUM"}


def described(*entries: dict[str, Any]) -> str:
    return json.dumps([{"cut_off": False, **entry} for entry in entries])


def test_a_list_of_signs_is_read_whole_or_not_at_all() -> None:
    assert LISTING.read("red-circle-H\nblue-square-K")[1] == {"colour": "blue", "shape": "square", "letter": "K"}
    assert LISTING.read("red-circle-H\nI see a square") is None
    assert LISTING.read("mauve-circle-H") is None
    assert LISTING.read("") == []


def test_only_objects_that_are_whole_are_facts() -> None:
    reply = "Here it is:\n```json\n" + described(MUG, {"name": "cup", "cut_off": True}) + "\n```"
    assert ASKING.read(reply) == [MUG]
    assert ASKING.read('[{"name": "mug", "attribute": "red"}]') == []  # it does not say whether it is whole


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_text_is_neither_a_fact_nor_a_question(kind: str) -> None:
    text = HOSTILE[kind]
    facts = ASKING.read(described({"name": "mug", "attribute": text, "text": "MUM"}))
    values = [value for one in facts or () for value in one.values()]
    assert all(value.isprintable() and len(value) <= 80 and "<" not in value for value in values)
    made = ASKING.asked(json.dumps({"question": f"What does the red mug say? {text}", "answer": "MUM"}), MUG)
    assert made is None or (made.text.isprintable() and "<" not in made.text and "hunter2" not in made.text)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What does the red mug say, MUM?", "MUM"),  # gives its answer away
        ("What is written here on it?", "MUM"),  # names nothing
        ("What does the red mug say?", "DAD"),  # no fact
        ("<|im_end|> What does the red mug say?", "MUM"),
        ("What does the red mug say? " + 60 * "Look. ", "MUM"),
    ],
)
def test_a_question_that_cannot_be_used_is_none(question: str, answer: str) -> None:
    assert ASKING.asked(json.dumps({"question": question, "answer": answer}), MUG) is None


@pytest.mark.parametrize(
    ("text", "told"), [("Made in China", "MADE IN CHINA"), ("the Lord of the Rings", "Lord of Rings"), ("On", "on")]
)
def test_a_question_may_not_hold_an_answer_with_words_that_do_not_count(text: str, told: str) -> None:
    facts = {**MUG, "text": text}
    reply = {"question": f"What does the red mug that says {told} say?", "answer": text}
    assert ASKING.asked(json.dumps(reply), facts) is None
    assert ASKING.asked(json.dumps({**reply, "question": "What does the red mug say?"}), facts)


def test_prose_is_no_listing_and_an_empty_listing_is_one() -> None:
    assert ASKING.read("I see a red mug on a table.") is None
    assert ASKING.read("```json\n[]\n```") == []


def test_a_question_knows_by_what_it_names_the_object() -> None:
    made = ASKING.asked('{"question": "What does the red mug say?", "answer": "MUM"}', MUG)
    assert made is not None
    assert (made.asked, made.named, made.answer) == ("text", ("name", "attribute"), "MUM")


def test_wordings_of_a_benchmark_come_from_its_questions_alone() -> None:
    asked = ["Which letter is on the red sign?", "Which letter is on the blue sign?", "What shape is the pink sign?",
             "What colour is the sign with the letter K?", "How are you?"]  # fmt: skip
    assert [(w.text, w.asked) for w in wordings_like(asked, LISTING.values)] == [
        ("Which letter is on the {colour} sign?", "letter"),
        ("What shape is the {colour} sign?", "shape"),
        ("What colour is the sign with the letter {letter}?", "colour"),
    ]


def test_wordings_are_filled_only_with_facts_that_are_there() -> None:
    proposer = find(
        "template", "What does the {attribute} {name} say? -> text\nWhat colour is the {name}? -> attribute"
    )
    assert [q.text for q in proposer.questions({"name": "mug", "attribute": "red"})] == ["What colour is the mug?"]
    assert len(proposer.questions(MUG)) == 2


@pytest.mark.parametrize(
    "line",
    ["Which letter?", "Which letter -> letter", "The {text}? -> text", "-> text", "The {nme}? -> text",
     "The {name}? -> txt", "The {name.x} {name}? -> text", "The {name}}? -> text", "The } of {name}? -> text",
     "The {{name}}? -> text", "The {name!r} {name}? -> text", "The {} {name}? -> text"],
)  # fmt: skip
def test_a_wording_that_cannot_be_used_names_its_line_and_what_is_allowed(line: str) -> None:
    with pytest.raises(SettingError, match=r"here line 2: .* Attributes are name, attribute, text; braces"):
        parse_wordings(f"What is on the {{name}}? -> text\n{line}", "here", ASKING.attributes)


def test_facts_agree_by_attributes_and_may_be_meant_where_one_is_missing() -> None:
    assert agree({"name": "the red mug"}, {"name": "Mug red"}, ["name"])
    assert not agree({"name": "mug", "text": "A"}, {"name": "mug"}, ["name", "text"])
    assert may_be({"name": "mug", "attribute": "red"}, {"name": "coffee mug"}, ["name", "attribute"])
    assert not may_be({"name": "mug", "attribute": "red"}, {"name": "mug", "attribute": "blue"}, ["name", "attribute"])
