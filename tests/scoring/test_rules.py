"""Every answer type at once: errors, robustness to any text, and time on hostile text."""

from __future__ import annotations

import gc
import subprocess
import sys
import time
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapbench.errors import BenchmarkError
from gapbench.scoring import Score, score
from gapbench.types import AnswerType

GOLD = {"letter": "B", "yes_no": "yes", "number": "3", "text": "stop", "vqa": "stop", "anls": "stop"}
TYPES = get_args(AnswerType)
PIECES = (
    "The answer is |Answer:|B|(b)| or |yes|3|1,200|stop|\\boxed{|}|<answer>|</answer>|<think>|</think>|**|$|答案是|"
    "\ud800|\0|\u202e|\u0301|½|10²|it is |wait|not "
)
FRAGMENTS = st.sampled_from(PIECES.split("|"))


def test_every_answer_type_has_its_rules() -> None:
    for answer_type in TYPES:
        verdict = score(f"The answer is {GOLD[answer_type]}.", [GOLD[answer_type]], answer_type)
        assert (verdict.outcome, verdict.score, verdict.reason) == ("right", 1.0, "")
        assert verdict.parsed


def test_a_lone_answer_need_not_be_a_list() -> None:
    assert score("stop", "stop", "text") == Score("right", 1.0, "stop", "text-exact", "")


def test_an_unknown_answer_type_is_an_error() -> None:
    with pytest.raises(BenchmarkError, match=r"'essay'.*letter, yes_no"):
        score("B", ["B"], "essay")  # type: ignore[arg-type]


@pytest.mark.parametrize("answers", [[], [""], [" "]])
def test_no_accepted_answer_is_an_error(answers: list[str]) -> None:
    with pytest.raises(BenchmarkError, match="accepted answer"):
        score("B", answers, "text")


@pytest.mark.parametrize("output", ["", "<think>"])
def test_a_bad_accepted_answer_is_an_error_whatever_the_output(output: str) -> None:
    with pytest.raises(BenchmarkError):
        score(output, ["Z"], "letter", ("red", "blue"))


@settings(max_examples=400, deadline=None)
@given(
    st.one_of(
        st.text(st.characters(exclude_categories=()), max_size=200), st.lists(FRAGMENTS, max_size=12).map("".join)
    ),
    st.sampled_from(TYPES),
)
def test_any_text_has_a_verdict(output: str, answer_type: AnswerType) -> None:
    verdict = score(output, [GOLD[answer_type]], answer_type, ("red", "blue") if answer_type == "letter" else ())
    assert verdict.outcome in ("right", "wrong", "unparsed")
    assert (verdict.outcome == "unparsed") == (verdict.parsed is None) == bool(verdict.reason)
    assert verdict.score is not None
    assert 0 <= verdict.score <= 1
    assert verdict.rule


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=80).filter(lambda text: "<" not in text and "◁" not in text), st.sampled_from(TYPES))
def test_thinking_never_changes_the_verdict(thoughts: str, answer_type: AnswerType) -> None:
    options = ("red", "blue") if answer_type == "letter" else ()
    plain, thought = (
        score(text, [GOLD[answer_type]], answer_type, options)
        for text in (GOLD[answer_type], f"<think>{thoughts}</think>\n\n{GOLD[answer_type]}")
    )
    assert plain == thought
    assert plain.outcome == "right"


HOSTILE = [
    " ",
    "\n",
    "A",
    "(",
    "*",
    "$",
    "\0",
    "\ud800",
    "\u202e",
    "\u0315\u0300",
    "\u0f73",
    "\ufdfa",
    "<think>",
    "<answer>",
    "\\boxed{",
    "\\text{",
    "the answer is ",
    "The answer is A. ",
    "the answer is A wait the answer is B ",
    "Answer: 1, ",
    "A or ",
    "option A ",
    "(A) ",
    "A.\n",
    "A is the most the ",
    "it is ",
    "if ",
    "1",
    "1.",
    "1/",
    "-1",
    "1,111",
    ",111",
    "one hundred and ",
    "= 1 ",
    "Yes. ",
    "a.",
    "\"'",
    "<|",
    "答案是",
    "so ",
    "It is so. ",
    "but not ",
    "actually ",
    "red and ",
    "1; ",
]


@pytest.mark.parametrize("unit", HOSTILE)
def test_fifty_thousand_hostile_characters_take_less_than_a_second(unit: str) -> None:
    """A tenth of a second on a quiet machine. What grows with the square of the length would take minutes."""
    output = ("answer 1" + unit * (50_000 // len(unit)))[:49_990] + ",11!"
    gc.disable()  # beside the tests of models in one process, a collection alone takes a second
    try:
        for answer_type in TYPES:
            started = time.process_time()
            options = ("red", "blue") if answer_type == "letter" else ()
            score(output, [GOLD[answer_type]] * 10, answer_type, options, "Is it red? " * 100)
            assert time.process_time() - started < 1, answer_type
    finally:
        gc.enable()


def test_scoring_loads_neither_torch_nor_transformers() -> None:
    code = "import sys, gapbench.scoring; sys.exit(any(name in sys.modules for name in ('torch', 'transformers')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
