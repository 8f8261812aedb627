"""The option's letter: what counts as explicit, what contradicts itself, what is never read as a letter."""

# ruff: noqa: RUF001  (full-width characters are what some models write)

from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapbench.scoring import score

COLOURS = ("red", "green", "blue", "yellow")
TEN = tuple(f"sign number {n}" for n in range(10))

EXPLICIT = {
    # bare letters
    "B": "B",
    "b": "B",
    "a": "A",
    "A": "A",
    "B.": "B",
    "B..": "B",
    "\n\n B \n": "B",
    "(c)": "C",
    "B)": "B",
    "A. red": "A",
    "A) red": "A",
    "a. red": "A",
    "[B]": "B",
    "B) green": "B",
    "b) green": "B",
    "B: green": "B",
    "B. green": "B",
    "B. A dog is red": "B",
    "(B) green": "B",
    "B, the green one": "B",
    "B - green": "B",
    "B green": "B",
    "B (green)": "B",
    "C\n\nReason: the car, shown in (A), is blue": "C",
    "- A: red, no\n- B: green, yes\n\nB": "B",
    "- A: red, no\n- B: green, yes\n\nCorrect: B": "B",
    "B\n\nThe car is green.": "B",
    "D. yellow because A, B and C are wrong.": "D",
    # mark-up and typography
    "**D**": "D",
    "**(D)**": "D",
    "**D.** yellow": "D",
    "`B`": "B",
    "$B$": "B",
    r"$\mathbf{B}$": "B",
    r"\boxed{D}": "D",
    r"\boxed{\text{(B) green}}": "B",
    r"The answer is $\boxed{\text{B}}$.": "B",
    r"The answer is \(B\).": "B",
    "<answer>B</answer>": "B",
    "<answer>\n(B) green\n</answer>": "B",
    "<|begin_of_box|>B<|end_of_box|>": "B",
    '{"answer": "B"}': "B",
    "Ｂ": "B",
    "（Ｂ）": "B",
    "【B】": "B",
    "Answer：Ｂ": "B",
    "B\u200b": "B",
    # statements
    "The answer is B": "B",
    "The answer is A": "A",
    "the answer is b": "B",
    "THE ANSWER IS A": "A",
    "The answer is (B)": "B",
    'The answer is "B".': "B",
    "The answer is B green": "B",
    "The answer is A and it is red": "A",
    "The answer is A: red": "A",
    "The correct answer is option B.": "B",
    "The correct option is: B": "B",
    "The correct choice would be D.": "D",
    "Answer: **D**": "D",
    "Answer: **D**.": "D",
    "**Answer**: B": "B",
    "### Answer\nB": "B",
    "**Answer**\n\n**B**": "B",
    "Answer:\n\nB": "B",
    "Answer (B)": "B",
    "Answer B": "B",
    "Answer - B": "B",
    "Ans: c": "C",
    "My final choice: D": "D",
    "So the answer is B.": "B",
    "Therefore, B.": "B",
    "B is correct": "B",
    "**B** is the answer": "B",
    "I think B": "B",
    "I would choose option C, since the sky is blue.": "C",
    "It is (B).": "B",
    "It must be (D).": "D",
    "option C": "C",
    # one letter chosen, others only ruled out
    "Answer is (B) because A is wrong": "B",
    "The answer is B, not A.": "B",
    "The answer is (B) green, not (A) red.": "B",
    "Option A is wrong. Option B is correct.": "B",
    "A is wrong, B is right.": "B",
    "It is not (A) but (C).": "C",
    "A. red\nB. green\nC. blue\nD. yellow\n\nThe answer is D.": "D",
    "The sign says (A) and the answer is B.": "B",
    # a final statement outweighs what came before it
    "Answer: A ... Wait, the answer is B": "B",
    "The answer is A. Final answer: B": "B",
    r"The answer is A. \boxed{B}": "B",
    r"\boxed{A} Wait, no: \boxed{B}": "B",
    # Chinese
    "答案是B": "B",
    "答案：B": "B",
    "正确答案是（C）。": "C",
    "我认为答案是 B。": "B",
    "应该选择B。": "B",
    "A。": "A",
    # thinking is not the answer
    "<think>A or C? The answer is A.</think>B": "B",
    "The answer must be A... </think>\n\nB": "B",
}


@pytest.mark.parametrize(("output", "letter"), EXPLICIT.items())
def test_an_explicit_letter_is_read(output: str, letter: str) -> None:
    verdict = score(output, [letter], "letter", COLOURS)
    assert (verdict.outcome, verdict.parsed, verdict.score) == ("right", letter, 1.0)
    other = "A" if letter != "A" else "B"
    assert score(output, [other], "letter", COLOURS).outcome == "wrong"


NOT_EXPLICIT = {
    # prose
    "I think so": "no-letter",
    "A dog is on the left": "no-letter",
    "The answer is A dog": "no-letter",
    "The answer is a dog": "no-letter",
    "I am not sure. Maybe A.": "refusal",
    "I can't tell.": "refusal",
    "None of the above": "refusal",
    "A is right of B": "no-letter",
    "AB": "no-letter",
    "A (blue)": "no-letter",
    "Is it B? Yes": "no-letter",
    # several
    "A or B": "no-letter",
    "A, B": "conflict",
    "(A) and (B)": "conflict",
    "It is either (A) or (B)": "no-letter",
    "The answer is A or B.": "conflict",
    "The answer is B or maybe C": "conflict",
    "I believe (B) or (C)": "conflict",
    "A. red\nB. green": "no-letter",
    "A\nB": "conflict",
    "The answer is both A and B": "no-letter",
    "The answer is A. The answer is B.": "conflict",
    "<answer>A</answer> <answer>B</answer>": "conflict",
    # beside the text of another option
    "B) red": "conflict",
    "B: red": "conflict",
    "b. red, because of the light": "conflict",
    "The answer is (B) red.": "conflict",
    # denied or supposed
    "The answer is not B": "no-letter",
    "The answer is not (B)": "no-letter",
    "I don't think the answer is B": "no-letter",
    "If the answer is A, then it is red.": "no-letter",
    "Option A is incorrect.": "no-letter",
    "选项B是错误的": "no-letter",
    "不选B": "no-letter",
    # outside the options
    "E": "outside-options",
    "The answer is K": "outside-options",
    "The dog is at point (E)": "no-letter",
    # nothing to read
    "": "empty",
    "  \n ": "empty",
    "<think>Is it A?</think>": "empty",
    "<think>The answer is A": "thought-cut-off",
}


@pytest.mark.parametrize(("output", "rule"), NOT_EXPLICIT.items())
@pytest.mark.parametrize("gold", "AB")
def test_what_is_not_one_explicit_letter_is_unparsed(output: str, rule: str, gold: str) -> None:
    verdict = score(output, [gold], "letter", COLOURS)
    assert (verdict.outcome, verdict.rule, verdict.parsed, verdict.score) == ("unparsed", rule, None, 0.0)
    assert verdict.reason


@pytest.mark.parametrize(("output", "gold", "first_capital"), [("The answer is B", "B", "T"), ("I think B", "B", "I")])
def test_the_first_capital_anywhere_is_not_the_answer(output: str, gold: str, first_capital: str) -> None:
    """A known defect of first-capital parsers, with options enough for that capital to be one."""
    options = [f"option number {n}" for n in range(26)]
    assert score(output, [gold], "letter", options).outcome == "right"
    assert score(output, [first_capital], "letter", options).outcome == "wrong"


def test_the_a_of_answer_is_not_read_as_a() -> None:
    assert score("Answer: **D**", ["A"], "letter", COLOURS).outcome == "wrong"


@pytest.mark.parametrize("output", ["I think so", "I can see it", "I, for one, doubt it", "I'm sure"])
def test_the_pronoun_is_no_letter_even_where_there_is_an_option_i(output: str) -> None:
    assert score(output, ["I"], "letter", TEN).outcome == "unparsed"


@pytest.mark.parametrize("output", ["I", "(I)", "Answer: I", "The answer is I.", "I) sign number 8"])
def test_option_i_can_be_given(output: str) -> None:
    assert score(output, ["I"], "letter", TEN).outcome == "right"


@pytest.mark.parametrize("output", ["K", "(k)", "The answer is K.", "K. sign"])
def test_letters_up_to_k_and_beyond(output: str) -> None:
    assert score(output, ["K"], "letter", (*TEN, "sign")).outcome == "right"
    assert score(output, ["K"], "letter").outcome == "right"
    assert score(output, ["A"], "letter", TEN).rule == "outside-options"


@pytest.mark.parametrize(
    "output",
    [
        "red",
        "Red.",
        "The red",
        "The answer is red.",
        "Answer: **red**",
        "It is red.",
        "<answer>red</answer>",
        "The color is red",
        "The scarf looks red to me.",
        "It is red, not blue.",
        "The scarf isn't blue, it is red.",
        "The answer is the red one.",
    ],
)
def test_exactly_one_options_text_stands_for_its_letter(output: str) -> None:
    verdict = score(output, ["A"], "letter", COLOURS)
    assert (verdict.outcome, verdict.parsed, verdict.rule) == ("right", "A", "option-text")


def test_text_that_two_options_share_stands_for_neither() -> None:
    assert score("red", ["A"], "letter", ("red", "Red.", "blue")).outcome == "unparsed"


@pytest.mark.parametrize(("output", "letter"), [("E. coli", "A"), ("A dog", "B"), ("It is A dog.", "B"), ("No", "C")])
def test_an_options_text_may_look_like_a_letter(output: str, letter: str) -> None:
    assert score(output, [letter], "letter", ("E. coli", "a dog", "no", "x", "y")).parsed == letter


def test_options_that_are_letters_are_read_as_letters_first() -> None:
    options = ("K", "M", "B", "T")
    assert score("K", ["A"], "letter", options).rule == "option-text"
    assert score("The answer is K.", ["A"], "letter", options).outcome == "right"
    assert score("B", ["B"], "letter", options).rule == "letter-bare"


TEMPLATES = (
    "{}",
    "{}.",
    "({})",
    "{})",
    "**{}**",
    "**{}.**",
    "Answer: {}",
    "Answer: ({})",
    "Answer: **{}**.",
    "The answer is {}",
    "The answer is {}.",
    "The correct answer is ({}).",
    "The correct option is {}",
    "Final answer: {}",
    "**Answer:** {}",
    "\\boxed{{{}}}",
    "$\\boxed{{\\text{{{}}}}}$",
    "<answer>{}</answer>",
    "<think>Is it A? Or B? The answer is C.</think>\nThe answer is {}.",
    "Let me look at the sign.\n\nSo the answer is {}.",
    "{}\n\nThe sign is on the left.",
    "答案是{}",
    "答案：{}。",
    "The best answer is: ({})",
    "I choose option {}.",
)


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_letter_is_read_in_every_template(template: str) -> None:
    options = [f"sign number {n}" for n in range(26)]
    for letter in string.ascii_uppercase:
        assert score(template.format(letter), [letter], "letter", options).outcome == "right", letter


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(TEMPLATES), st.sampled_from(string.ascii_uppercase), st.integers(2, 25))
def test_a_letter_outside_the_options_is_never_right_or_wrong(template: str, letter: str, options: int) -> None:
    texts = [f"sign number {n}" for n in range(options)]
    verdict = score(template.format(letter), ["A"], "letter", texts)
    inside = string.ascii_uppercase.index(letter) < options
    assert (verdict.outcome != "unparsed") == inside
    assert (verdict.outcome == "right") == (letter == "A")


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(TEMPLATES[:22]), st.sampled_from("BCDEFGHJK"), st.sampled_from([str.lower, str.upper]))
def test_case_does_not_matter(template: str, letter: str, change: object) -> None:
    output = change(template.format(letter)) if "\\" not in template else template.format(letter.lower())
    assert score(output, [letter], "letter", (*TEN, "sign")).parsed == letter


PIECES = ("A", "B", "(A)", "(B)", "or", "and", "not", "the", "answer", "is", ":", "I", ".", "red")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=8))
def test_the_verdict_does_not_depend_on_which_answer_is_accepted(pieces: list[str]) -> None:
    """Reading comes before comparing: whatever is parsed is the same for every accepted answer."""
    output = " ".join(pieces)
    assert len({score(output, [gold], "letter", COLOURS).parsed for gold in "ABCD"}) == 1
