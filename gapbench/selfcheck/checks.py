"""The rules of the self-check: each turns evidence into passed, failed or not applicable.

    checks_of(gather_evidence(engine))

Evidence that images arrive, strongest first: reproducible answers that differ by image, right answers,
log-probabilities of the first token, and a prompt that an image does not lengthen. Evidence of their order: the
prompt's ids, sizes, and four questions about two images that all get the other image's letter; a model that merely
prefers the last image does not answer like that.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from gapbench.engines.local import PROMPT_END
from gapbench.scoring.thoughts import opened_in
from gapbench.selfcheck.evidence import ProbeEvidence
from gapbench.selfcheck.probes import COLOURS, LETTERS, PAIRS, SIZES, ids_of
from gapbench.util.text import quoted

CheckOutcome = Literal["passed", "failed", "not applicable"]

HIDDEN = 64
"""An answer with this many tokens more than characters had thoughts that were removed."""
COUNTED = (*reversed(SIZES), "colour 0", "first HK")
"""The probes whose tokens are compared, the largest image first, because that one gets rescaled."""
CLOSE = 0.03
"""Relative difference of two counts that may come from rounding to whole patches."""
THINKING = "thinking is off"
CHECKS = {
    "images arrive": (
        "answers that depend on the image",
        "The model is not shown what is sent: check that the server runs a multimodal model, its image limit "
        "(--limit-mm-per-prompt of vLLM), and the chat template (--chat-template FILE).",
    ),
    "order of images": (
        "the first image first, and both of them",
        "Images are mixed up on their way to the model: check the chat template (--chat-template FILE) and the "
        "server's version.",
    ),
    "visual tokens": (
        "as many as the model's own processor makes of the same image",
        "Something between gapbench and the model rescales images: lift the server's limits (mm_processor_kwargs, "
        "image size limits of a proxy), or pass --max-pixels so that all engines see the same pixels.",
    ),
    "greedy is greedy": (
        "the same answer to the same question, alone and in a batch",
        "Scores will wobble between runs: check that the server neither samples nor applies penalties of its own; "
        "--repeats 2 measures the noise, --dtype float32 or a batch-invariant mode removes it.",
    ),
    THINKING: (
        "answers without a chain of thought",
        "Thoughts are never scored, and by default answers may be longer now. If some are cut off: raise "
        "--max-new-tokens, measure an instruct model, or switch thinking off in the server or a --chat-template FILE.",
    ),
    "prompt": (
        "the prompt that the model's own template makes",
        "The engine changes the prompt: check its chat template, a system prompt of its own, and its limit on the "
        "length of prompts; --chat-template FILE sets the same template everywhere.",
    ),
}
"""What each check expects, and the remedy if it fails."""
VOID = ("images arrive", "order of images")
"""The checks of which a failure makes all numbers void."""

RIGHT = {**COLOURS, **LETTERS}

Finding = tuple[CheckOutcome, str]


@dataclass(frozen=True)
class Check:
    """The result of one check. `remedy` applies if it failed; `stops` says that a failure makes all numbers void."""

    name: str
    outcome: CheckOutcome
    found: str
    expected: str
    remedy: str
    stops: bool = False


def checks_of(evidence: ProbeEvidence) -> tuple[Check, ...]:
    """The results of all six checks."""
    greedy = _greedy(evidence)
    reproducible = greedy[0] == "passed"
    arrive, order = _arrive(evidence, reproducible), _order(evidence, reproducible)
    findings = arrive, order, _tokens(evidence), greedy, _thinking(evidence), _prompt(evidence)
    checks = [
        Check(name, *finding, *texts, name in VOID)
        for (name, texts), finding in zip(CHECKS.items(), findings, strict=True)
    ]
    if all(evidence.answers[name].error for name in RIGHT):
        checks[0] = replace(checks[0], remedy="")  # the engine's own error says what to do
    return tuple(checks)


def _arrive(evidence: ProbeEvidence, reproducible: bool) -> Finding:
    answers = [evidence.answers[name] for name in RIGHT]
    if errors := [answer.error for answer in answers if answer.error]:
        if len(errors) < len(answers):
            return "not applicable", f"{len(errors)} of {len(answers)} images were refused: {errors[0]}"
        return "failed", f"every question with an image failed: {errors[0].removesuffix('.')}"
    named = sum(_says(evidence.answers[name].text, word) for name, word in RIGHT.items())
    read = f"{named} of {len(RIGHT)} colours and letters are named"
    differ = any(len(set(evidence.texts([*group]))) > 1 for group in (COLOURS, LETTERS))
    if differ and reproducible:
        return "passed", f"answers differ from image to image; {read}"
    if 2 * named > len(RIGHT):
        return "passed", read
    logprobs_differ = evidence.logprobs_differ("colour 0", "colour 1")
    if logprobs_differ:
        return "passed", f"log-probabilities differ from image to image; {read}"
    if logprobs_differ is not None:
        return "failed", "log-probabilities of the answer are the same for a red and for a blue image"
    shown, without = evidence.answers["colour 0"], evidence.answers["none"]
    no_longer = not without.error and (shown.prompt_tokens or math.inf) <= (without.prompt_tokens or 0)
    if shown.image_tokens == 0 or no_longer:
        return "failed", f"the prompt has {shown.prompt_tokens} tokens with an image and without one"
    why = f"it answers every image alike ({_quote(shown.text)})" if reproducible else "its answers are not reproducible"
    return "not applicable", f"{why}, and shows no log-probabilities; {read}"


def _order(evidence: ProbeEvidence, reproducible: bool) -> Finding:
    answers = {name: evidence.answers[name] for name in PAIRS}
    if error := next((answer.error for answer in answers.values() if answer.error), ""):
        return "not applicable", f"two images in one prompt are not possible: {error}"
    for name, answer in answers.items():
        first, second = (image.size for image in evidence.requests[name].images)
        if answer.sent_size is not None and tuple(answer.sent_size) == second:
            return "failed", f"the first of two images was sent as {_size(second)} px; it has {_size(first)} px"
    expected, swapped = evidence.processor_ids("first HK"), evidence.processor_ids("first KH")
    actual, single, token = evidence.engine_ids("first HK"), evidence.processor_ids("colour 0"), evidence.visual_token
    if expected and swapped and actual and expected != swapped:
        if actual == swapped:
            return "failed", "the prompt's ids show the second image first"
        if single and token is not None and actual.count(token) == single.count(token) != expected.count(token):
            count = actual.count(token)
            return "failed", f"the prompt has {count} visual tokens for two images, as many as for one"
    named = sum(_says(answer.text, PAIRS[name][0]) for name, answer in answers.items())
    if all(_says(a.text, PAIRS[n][1]) and not _says(a.text, PAIRS[n][0]) for n, a in answers.items()):
        return "failed", "asked about one of two images, it names the other one's letter, four times of four"
    if named == len(PAIRS):
        return "passed", "the letters of the first and the second image are named, in both orders"
    if expected and expected != swapped and actual == expected:
        return "passed", "the prompt's ids show the first image first"
    texts = [evidence.texts([name.replace("HK", order) for name in PAIRS if "HK" in name]) for order in ("HK", "KH")]
    differ = True if reproducible and texts[0] != texts[1] else evidence.logprobs_differ("first HK", "first KH")
    if differ is False:
        return "failed", "log-probabilities of the answer are the same for two images in either order"
    unknown = "the order matters to its answers; which image comes first" if differ else "the order"
    return "not applicable", f"{unknown} cannot be told: {named} of 4 letters are named, and no ids show it"


def _tokens(evidence: ProbeEvidence) -> Finding:
    for name in reversed(SIZES):
        target, sent = evidence.requests[name].images[0].size, evidence.answers[name].sent_size
        if sent is not None and tuple(sent) != target:
            return "failed", f"an image of {_size(target)} px was sent as {_size(sent)}"
    if evidence.visual_token is None:
        return "not applicable", "the model's processor is not available"
    counts = {name: counted for name in COUNTED if (counted := _counts(evidence, name))}
    if not counts:
        return "not applicable", "the engine counts no tokens"
    for name, (count, expected) in counts.items():
        if count != expected:
            size = " and ".join(_size(image.size) for image in evidence.requests[name].images)
            rescaled = _rescaled(evidence, name, count)
            return "failed", f"an image of {size} px takes {count} visual tokens instead of {expected}{rescaled}"
    sizes = {name: _size(evidence.requests[name].images[0].size) for name in SIZES if name in counts}
    return "passed", ", ".join(f"{counts[name][0]} for {size} px" for name, size in sizes.items())


def _counts(evidence: ProbeEvidence, name: str) -> tuple[int, int] | None:
    """Visual tokens of a request, as the engine and as the processor count them; None if one cannot count them."""
    ids, token, answer = evidence.processor_ids(name), evidence.visual_token, evidence.answers[name]
    if ids is None or token is None or answer.error:
        return None
    expected = ids.count(token)
    if answer.image_tokens is not None:
        return answer.image_tokens, expected
    for base in ("none", "small"):  # a template of the engine would lengthen all prompts by the same number
        base_ids, length = evidence.processor_ids(base), evidence.answers[base].prompt_tokens
        if base_ids is not None and length is not None and answer.prompt_tokens is not None:
            return expected + (answer.prompt_tokens - len(ids)) - (length - len(base_ids)), expected
    return None


def _rescaled(evidence: ProbeEvidence, name: str, tokens: int) -> str:
    """Name the smaller image that has this many tokens, since the engine probably rescaled to its size."""
    request, token = evidence.requests[name], evidence.visual_token
    if len(request.images) > 1 or evidence.reference is None or token is None or tokens < 1:
        return ""
    image, low, high = request.images[0], 0.0, 1.0
    for _ in range(10):
        middle = (low + high) / 2
        size = max(1, round(image.width * middle)), max(1, round(image.height * middle))
        ids = ids_of(evidence.reference, replace(request, images=(image.resize(size),)))
        count = ids.count(token) if ids else 0
        if abs(count - tokens) <= CLOSE * tokens:
            return f", as one of about {_size(size)} px does: it is rescaled on its way to the model"
        low, high = (middle, high) if count < tokens else (low, middle)
    return ""


def _greedy(evidence: ProbeEvidence) -> Finding:
    if (evidence.engine.info.get("generation") or {}).get("temperature"):
        return "not applicable", "sampling was requested (--temperature)"
    first, again, letter = evidence.alone
    batched = evidence.answers["colour 0"], evidence.answers["letter 1"]
    if any(answer.error for answer in (*evidence.alone, *batched)):
        return "not applicable", "some of the questions failed"
    if first.text != again.text:
        return "failed", f"the same question is answered {_quote(first.text)} and {_quote(again.text)}"
    for lone, in_batch in zip((first, letter), batched, strict=True):
        if lone.text != in_batch.text:
            return "failed", f"alone it answers {_quote(lone.text)}, in a batch {_quote(in_batch.text)}"
    return "passed", "the same answers twice, alone and in a batch"


def _thinking(evidence: ProbeEvidence) -> Finding:
    answers = [answer for answer in (*evidence.answers.values(), *evidence.alone) if not answer.error]
    if not answers:
        return "not applicable", "no question was answered"
    for ids in (evidence.engine_ids("colour 0"), evidence.processor_ids("colour 0")):
        if ids and evidence.reference and opened_in(evidence.reference.processor.tokenizer.decode(ids[-PROMPT_END:])):
            return "failed", "the prompt ends with the beginning of a thought"
    thoughts = [answer.thought for answer in answers if answer.thought or answer.thought_cut_off]
    if thoughts:
        return "failed", f"{len(thoughts)} of {len(answers)} answers begin with a thought ({_quote(thoughts[0])})"
    longer = [answer for answer in answers if (answer.output_tokens or 0) > HIDDEN + len(answer.text)]
    if 2 * len(longer) > len(answers):  # some servers remove the thoughts from the answer
        tokens, length = longer[0].output_tokens, len(longer[0].text)
        return "failed", f"{tokens} tokens are generated for an answer of {length} characters"
    return "passed", f"no thoughts in {len(answers)} answers"


def _prompt(evidence: ProbeEvidence) -> Finding:
    token = evidence.visual_token
    compared = counted = 0
    for name in ("none", "colour 0", "first HK", "large"):
        expected, actual, answer = evidence.processor_ids(name), evidence.engine_ids(name), evidence.answers[name]
        if expected is None or answer.error:
            continue
        text = [i for i in expected if i != token]
        if actual is not None:
            compared += 1
            actual_text = [i for i in actual if i != token]
            if actual_text != text:
                return "failed", f"its ids differ from ours in {_first_difference(actual_text, text)}"
        # Lengths are compared only if the visual tokens are counted: a rescaled image is no fault of the prompt.
        visual = 0 if name == "none" else answer.image_tokens
        if answer.prompt_tokens is not None and visual is not None and answer.prompt_tokens - visual != len(text):
            return "failed", f"it reads {answer.prompt_tokens - visual} tokens of text, and we {len(text)}"
        counted += answer.prompt_tokens in (len(expected), len(text) + (visual or 0))
    if compared:
        return "passed", f"the ids of {compared} prompts are ours"
    if counted:
        return "passed", f"{counted} prompts are as long as ours; their ids are not shown"
    return "not applicable", "the engine shows neither ids nor lengths of prompts, or no processor is available"


def _first_difference(actual: Sequence[int], expected: Sequence[int]) -> str:
    place = next((i for i, pair in enumerate(zip(actual, expected, strict=False)) if pair[0] != pair[1]), None)
    if place is None:
        return f"length: {len(actual)} and {len(expected)} tokens of text"
    return f"text token {place + 1}: {actual[place]} and {expected[place]}"


def _says(text: str, word: str) -> bool:
    """Whether an answer holds a colour or a letter as a word."""
    return re.search(rf"(?<![a-z]){word}(?![a-z])", text, re.IGNORECASE) is not None


def _size(size: Sequence[int]) -> str:
    return f"{size[0]} x {size[1]}"


def _quote(text: str) -> str:
    return quoted(" ".join(text.split()), 60)
