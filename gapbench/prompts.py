"""The text a model is asked: question, lettered options, and one sentence on the form of the answer.

    prompt(Sample(..., question="Which letter?", options=("K", "M"), answers=("A",), answer_type="letter"))

The same text goes with every view of a sample. The neutral wording follows what LLaVA made the field's habit
("Answer with the option's letter from the given choices directly."); a benchmark's card may bring its own template.

Limits: 26 options, one per letter.
"""

from __future__ import annotations

import string

from gapbench.errors import BenchmarkError
from gapbench.types import Sample

SUFFIXES = {
    "letter": "Answer with the option's letter from the given choices directly.",
    "yes_no": "Answer the question using yes or no.",
    "number": "Answer the question using a single number.",
    "text": "Answer the question using a single word or phrase.",
    "vqa": "Answer the question using a single word or phrase.",
    "anls": "Answer the question using a single word or phrase.",
}
NEUTRAL = "{question}{options}\n{suffix}"


def prompt(sample: Sample, template: str = "") -> str:
    """The prompt of a sample; `template` may use {question}, {options} (each on a line of its own) and {suffix}.

    Raises BenchmarkError for an unknown answer type, more options than letters, or a template that cannot be filled.
    """
    if sample.answer_type not in SUFFIXES:
        raise BenchmarkError(
            f"sample {sample.id!r}: answer_type is {sample.answer_type!r}; expected one of {', '.join(SUFFIXES)}."
        )
    if len(sample.options) > len(string.ascii_uppercase):
        raise BenchmarkError(
            f"sample {sample.id!r}: it has {len(sample.options)} options; expected at most 26, A to Z."
        )
    options = "".join(
        f"\n({letter}) {text}" for letter, text in zip(string.ascii_uppercase, sample.options, strict=False)
    )
    try:
        return (template or NEUTRAL).format(
            question=sample.question, options=options, suffix=SUFFIXES[sample.answer_type]
        )
    except (LookupError, ValueError, AttributeError, TypeError) as error:
        raise BenchmarkError(
            f"The prompt template {template!r} cannot be filled ({error!r}). It may use {{question}}, {{options}} and "
            "{suffix}; write a literal brace twice."
        ) from error
