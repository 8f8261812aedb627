"""The prompt of a sample: its question, lettered options, and one sentence on the form of the answer.

    prompt(Sample(..., question="Which letter?", options=("K", "M"), answers=("A",), answer_type="letter"))

All views of a sample share one prompt. The neutral wording is the one that LLaVA made common in the field
("Answer with the option's letter from the given choices directly."); a benchmark's card may bring its own template.

Limits: 26 options, one per letter.
"""

from __future__ import annotations

import string

from gapbench.errors import BenchmarkError, SettingError
from gapbench.types import Card, Sample

SUFFIXES = {
    "letter": "Answer with the option's letter from the given choices directly.",
    "yes_no": "Answer the question using yes or no.",
    "number": "Answer the question using a single number.",
    "text": "Answer the question using a single word or phrase.",
    "vqa": "Answer the question using a single word or phrase.",
    "anls": "Answer the question using a single word or phrase.",
}
TEMPLATE = "{question}{options}\n{suffix}"
NEUTRAL = "neutral"


def template_of(card: Card, protocol: str = NEUTRAL) -> str:
    """The prompt template of a benchmark under a protocol. Raises SettingError if the card has no such protocol."""
    if protocol == NEUTRAL:
        return card.prompt
    if protocol not in card.protocols:
        protocols = ", ".join([NEUTRAL, *card.protocols])
        raise SettingError(f"protocol {protocol!r}: {card.name} has no such protocol. It has {protocols}.")
    return card.protocols[protocol].prompt


def prompt(sample: Sample, template: str = "") -> str:
    """The prompt of a sample; an empty `template` is the neutral one.

    A template may use {question}; {options}, each on its own line as "(A) red"; {dotted}, the options as "A. red";
    {suffix}, one sentence on the form of the answer; and {published}, the wording of the authors' own prompt.
    Raises BenchmarkError for an unknown answer type, more options than letters, or a template that cannot be filled.
    """
    where = f"sample {sample.id!r}"
    if sample.answer_type not in SUFFIXES:
        raise BenchmarkError(f"{where}: answer_type is {sample.answer_type!r}; expected one of {', '.join(SUFFIXES)}.")
    if len(sample.options) > len(string.ascii_uppercase):
        raise BenchmarkError(f"{where}: it has {len(sample.options)} options; expected at most 26, A to Z.")
    lettered = list(zip(string.ascii_uppercase, sample.options, strict=False))
    if "{published}" in template and not sample.published:
        raise BenchmarkError(f"{where}: its benchmark ships no prompt of its own, which this protocol needs.")
    try:
        return (template or TEMPLATE).format(
            question=sample.question,
            options="".join(f"\n({letter}) {text}" for letter, text in lettered),
            dotted="".join(f"\n{letter}. {text}" for letter, text in lettered),
            suffix=SUFFIXES[sample.answer_type],
            published=sample.published,
        )
    except (LookupError, ValueError, AttributeError, TypeError) as error:
        fault = f"The prompt template {template!r} cannot be filled ({error!r})."
        known = "{question}, {options}, {dotted}, {suffix} and {published}; write a literal brace twice"
        raise BenchmarkError(f"{fault} It may use {known}.") from error
