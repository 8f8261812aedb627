"""A thought is never an answer, whatever marks it has."""

from __future__ import annotations

import time

import pytest

from gapbench.scoring import score
from gapbench.scoring.thoughts import Thoughts, demanded_in, opened_in, split

THOUGHT = "Let me look. Option B is blue. The answer is B? No, the sign is red."
ENDED = {
    "think": "<think>\n{}\n</think>\n\nA",
    "opened by the prompt": "{}\n</think>\n\nA",
    "capitals": "<THINK>{}</THINK>A",
    "thinking": "<thinking>{}</thinking>A",
    "attribute": "<think time=3>{}</think>A",
    "space in the marks": "<think >{}</think >A",
    "[THINK]": "[THINK]{}[/THINK]A",
    "[THINK], then a sentence": "[THINK]{}[/THINK]The answer is A.",
    "channel": "<|channel>thought\n{}<channel|>A",
    "channel, opened by the prompt": "{}<channel|>A",
    "harmony": "<|channel|>analysis<|message|>{}<|end|><|start|>assistant<|channel|>final<|message|>A<|return|>",
    "harmony with a call": "<|channel|>commentary to=f<|message|>B<|end|><|start|>assistant"
    "<|channel|>analysis<|message|>{}<|end|><|start|>assistant<|channel|>final<|message|>A",
    "harmony without special tokens": "analysis{}assistantfinalA",
    "mm:think": "<mm:think>{}</mm:think>A",
    "mm:think, opened by the prompt": "{}</mm:think>A",
    "seed:think": "<seed:think>{}</seed:think>A",
    "steps": "Here are my reasoning steps:\n{}\n[BEGIN FINAL RESPONSE]\nA\n[END FINAL RESPONSE]",
    "steps, opened by the prompt": "{}\n[BEGIN FINAL RESPONSE] A [END FINAL RESPONSE]",
    "start and end": "<|START_THINKING|>{}<|END_THINKING|><|START_RESPONSE|>A<|END_RESPONSE|>",
    "begin and end of thought": "<|begin_of_thought|>{}<|end_of_thought|>\n<|begin_of_solution|>A<|end_of_solution|>",
    "longcat_think": "<longcat_think>{}</longcat_think>A",
    "kimi": "◁think▷{}◁/think▷A",
    "analysis": "<analysis>{}</analysis>A",
    "thought": "<thought>{}</thought>A",
    "reasoning": "<reasoning>{}</reasoning>A",
    "stages": "<SUMMARY>B</SUMMARY><CAPTION>B</CAPTION><REASONING>{}</REASONING><CONCLUSION>A</CONCLUSION>",
    "box": "<think>{}</think>The answer is <|begin_of_box|>A<|end_of_box|>",
    "two thoughts": "<think>{0}</think><think>{0}</think>A",
    "a mark within the thought": "<think>{} <think> no</think>A",
}
CUT_OFF = ("<think>", "[THINK]", "<mm:think>", "<|channel>thought\n", "<|channel|>analysis<|message|>", "◁think▷",
           "<|START_THINKING|>", "Here are my reasoning steps:\n", "<SUMMARY>x</SUMMARY><REASONING>")  # fmt: skip
OPTIONS = ("red", "blue", "green", "yellow")


@pytest.mark.parametrize("form", ENDED.values(), ids=ENDED)
def test_the_answer_after_a_thought_is_scored(form: str) -> None:
    output = form.format(THOUGHT)
    parts = split(output)
    assert THOUGHT in parts.thought
    assert THOUGHT not in parts.answer
    assert not parts.cut_off
    assert score(output, ["A"], "letter", OPTIONS).outcome == "right"
    assert score(parts.answer, ["A"], "letter", OPTIONS).outcome == "right"


@pytest.mark.parametrize("mark", CUT_OFF)
def test_a_thought_that_never_ends_is_no_answer(mark: str) -> None:
    scored = score(mark + THOUGHT, ["A"], "letter", OPTIONS)
    assert (scored.outcome, scored.rule, scored.score) == ("unparsed", "thought-cut-off", 0)


@pytest.mark.parametrize(
    ("output", "opened", "parts"),
    [
        ("B", False, Thoughts("", "B")),
        (" B ", False, Thoughts("", " B ")),  # nothing was cut, so nothing is changed
        ("B", True, Thoughts("B", "", cut_off=True, opened=True)),
        ("B?</think>A", False, Thoughts("B?", "A", opened=True)),
        ("<think></think> A", False, Thoughts("", "A")),
        ("<|channel>thought\n<channel|>A", False, Thoughts("", "A")),
        ("A <think>x", False, Thoughts("x", "A", cut_off=True)),
        ("The analysis is A", False, Thoughts("", "The analysis is A")),
        ("a < b", False, Thoughts("", "a < b")),
        ("B<|end|>", False, Thoughts("", "B<|end|>")),  # the end of a turn of Phi
        ("<think />B", False, Thoughts("", "<think />B")),
        ("A<think>x</think>B", False, Thoughts("x", "A B")),  # not "AB"
    ],
)
def test_an_output_is_split(output: str, opened: bool, parts: Thoughts) -> None:
    assert split(output, opened=opened) == parts


def test_a_user_names_other_marks() -> None:
    tags = (("<|plan|>", "(done)"),)
    assert split("<|plan|>B?(done)A", tags) == Thoughts("B?", "A")
    assert opened_in("x<|plan|>\n", tags) == "<|plan|>"


@pytest.mark.parametrize(
    ("prompt", "opened", "demanded"),
    [
        ("What is it?assistant\n", "", ""),
        ("<|user|>What is it?<|end|>\n<|assistant|>\n", "", ""),
        ("assistant\n<think>\n", "<think>", "<think>"),
        ("assistant\n<think>\n\n</think>\n\n", "", ""),
        ("[SYSTEM]Think: [THINK]draft[/THINK] answer[/SYSTEM]What?", "", "[THINK]"),
        ("Think between <think> and </think>. What?", "", "<think>"),
        ("assistant\nHere are my reasoning steps:\n", "Here are my reasoning steps:", "Here are my reasoning steps:"),
    ],
)
def test_a_prompt_may_open_or_demand_a_thought(prompt: str, opened: str, demanded: str) -> None:
    assert (opened_in(prompt), demanded_in(prompt)) == (opened, demanded)


@pytest.mark.parametrize("text", ["<think ", "<", "</", "<|channel|>analysis", "<think>", "a:", "<" + "a" * 1000])
def test_the_time_is_linear(text: str) -> None:
    started = time.perf_counter()
    split(text * (200_000 // len(text)))
    assert time.perf_counter() - started < 2
