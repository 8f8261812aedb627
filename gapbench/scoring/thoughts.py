"""Thoughts: what a model writes before it answers, cut from its output by the marks around it.

    split("<think>Is it B? No.</think>The answer is A.")
    # Thoughts(thought='Is it B? No.', answer='The answer is A.', cut_off=False)

The prompt may open the thought itself (`opened_in`); the output then begins inside it. A thought that never ends leaves
no answer. The time is linear in the length of the output.

Limits: a thought without marks, or in marks that are not in `TAGS`, is part of the answer. Give such marks to
`--reasoning-tags`. Marks that are special tokens must still be in the output: decode with special tokens kept.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

_WORDS = r"(?:\w{1,20}[:_])?(?:think(?:ing)?|thoughts?|analysis|reason(?:ing)?|scratchpad)"
_STAGES = r"(?:summary|caption)"

Tags = tuple[tuple[str, str], ...]
"""Pairs: what begins a thought and what ends it. A user's are plain marks; those of `TAGS` are patterns."""

TAGS: Tags = (
    (rf"<{_WORDS}(?:\s[^<>]{{0,80}})?(?<!/)>", rf"</{_WORDS}\s?>"),  # most families; also <mm:think>, <seed:think>
    (rf"<{_STAGES}>", rf"</{_STAGES}>"),  # LLaVA-CoT, before <REASONING>
    (r"\[THINK\]", r"\[/THINK\]"),  # Mistral
    (r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>"),
    (r"◁think▷", r"◁/think▷"),  # Kimi
    (r"<\|channel>thought\b", r"<channel\|>"),  # Gemma 4
    (
        r"<\|channel\|>(?:analysis|commentary)[^<>]{0,80}<\|message\|>",
        r"<\|end\|><\|start\|>assistant|<\|channel\|>final[^<>]{0,80}<\|message\|>",
    ),  # harmony (gpt-oss); <|end|> alone ends each turn of Phi
    (r"\A(?-i:analysis(?=[A-Z]))", r"assistantfinal"),  # harmony, its special tokens removed by a server
    (r"<\|START_THINKING\|>", r"<\|END_THINKING\|>"),  # Cohere
    (r"Here are my reasoning steps:", r"\[BEGIN FINAL RESPONSE\]"),  # Apriel
)
"""Pairs of patterns, without groups: what begins a thought and what ends it. Case is ignored."""

_FRAME = re.compile(
    r"<\|(?:START|END)_RESPONSE\|>|\[END FINAL RESPONSE\]|</?conclusion>|<\|(?:return|end|start)\|>", re.I
)
"""Marks around the answer after a thought."""


@dataclass(frozen=True)
class Thoughts:
    """The two parts of an output. `cut_off`: it ended inside its thought. `opened`: it began inside its thought."""

    thought: str
    answer: str
    cut_off: bool = False
    opened: bool = False


def split(output: str, tags: Tags = (), opened: bool = False) -> Thoughts:
    """The thought and the answer in one output. `tags` are marks besides `TAGS`; `opened`: the prompt opened a thought.

    A closing mark without an opening one ends a thought that the prompt had opened, whether `opened` says so or not.
    Without a thought, the answer is the output, unchanged; with one, both are stripped.
    """
    thoughts: list[str] = []
    answer: list[str] = []
    start, inside, seen = 0, opened, opened
    for mark in _marks(tags).finditer(output):
        if mark.lastgroup == "close":
            opened = opened or not (inside or seen)
            thoughts += [*([] if inside else answer), output[start : mark.start()]]
            answer = answer if inside else []
        elif inside:
            continue
        else:
            answer.append(output[start : mark.start()])
        start, inside, seen = mark.end(), mark.lastgroup == "open", True
    if not seen:
        return Thoughts("", output)
    (thoughts if inside else answer).append(output[start:])
    return Thoughts("".join(thoughts).strip(), _FRAME.sub("", " ".join(answer)).strip(), inside, opened)


def opened_in(prompt: str, tags: Tags = ()) -> str:
    """The mark at the end of a prompt, if it begins a thought; else an empty text."""
    marks = [*_marks(tags).finditer(prompt)]
    if not marks or marks[-1].lastgroup == "close" or prompt[marks[-1].end() :].strip():
        return ""
    return marks[-1][0]


def demanded_in(prompt: str, tags: Tags = ()) -> str:
    """The first mark of a thought in a prompt, unless all that it has is a blank thought at its end."""
    marks = [*_marks(tags).finditer(prompt)]
    if len(marks) > 1 and not (prompt[marks[-2].end() : marks[-1].start()] + prompt[marks[-1].end() :]).strip():
        del marks[-2:]
    return marks[0][0] if marks else ""


@cache
def _marks(tags: Tags) -> re.Pattern[str]:
    """Any mark of a thought, in the group `open` or `close`."""
    pairs = [*TAGS, *((re.escape(begin), re.escape(end)) for begin, end in tags)]
    begins, ends = ("|".join(patterns) for patterns in zip(*pairs, strict=True))
    return re.compile(f"(?P<close>{ends})|(?P<open>{begins})", re.I)
