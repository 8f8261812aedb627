"""The rules of the self-check: from what an engine answered to passed, failed or not applicable.

    checks_of(look(engine))

Evidence that images arrive, from the strongest: reproducible answers that differ by image, right answers,
log-probabilities of the first token, and a prompt that is no longer for its image. Evidence of their order: the
prompt's ids, sizes, and four questions about two images that are all answered with the other one's letter; a model
that merely prefers the last image does not do that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from gapbench.selfcheck.evidence import Seen
from gapbench.selfcheck.probes import COLOURS, LETTERS, PAIRS, SIZES
from gapbench.types import Answer
from gapbench.util.text import quoted

CheckOutcome = Literal["passed", "failed", "not applicable"]

THINKING = re.compile(r"</?think(ing)?>|◁/?think▷|\[/?THINK\]|<\|channel\|?>\s*(analysis|thought)", re.IGNORECASE)
"""How models begin or end their thoughts."""
OPENED = re.compile(r"(<think(ing)?>|◁think▷|\[THINK\])\s*\Z", re.IGNORECASE)
HIDDEN = 64
"""Tokens beyond one a character that no answer needs."""
COUNTED = (*reversed(SIZES), "colour 0", "first HK")
"""Whose tokens are compared, the largest image first: that is the one that gets rescaled."""
CLOSE = 0.03
"""Relative difference of two counts that may come from rounding to whole patches."""
NOT_SHOWN = (
    "The model is not shown what is sent: check that the server runs a multimodal model, its image limit "
    "(--limit-mm-per-prompt of vLLM), and the chat template (--chat-template FILE)."
)


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. `remedy` is for when it failed; `stops` says that numbers would mean nothing."""

    name: str
    outcome: CheckOutcome
    found: str
    expected: str
    remedy: str
    stops: bool = False


def checks_of(seen: Seen) -> tuple[Check, ...]:
    """All six."""
    greedy = _greedy(seen)
    same = greedy.outcome == "passed"
    return _arrive(seen, same), _order(seen, same), _tokens(seen), greedy, _thinking(seen), _prompt(seen)


def _arrive(seen: Seen, same: bool) -> Check:
    def check(outcome: CheckOutcome, found: str, remedy: str = NOT_SHOWN) -> Check:
        return Check("images arrive", outcome, found, "answers that depend on the image", remedy, stops=True)

    right = {**COLOURS, **LETTERS}
    answers = [seen.answers[name] for name in right]
    if errors := [answer.error for answer in answers if answer.error]:
        if len(errors) < len(answers):
            return check("not applicable", f"{len(errors)} of {len(answers)} images were refused: {errors[0]}")
        return check("failed", f"every question with an image failed: {errors[0].removesuffix('.')}", remedy="")
    named = sum(_says(seen.answers[name].text, word) for name, word in right.items())
    read = f"{named} of {len(right)} colours and letters are named"
    differ = any(len(set(seen.texts([*group]))) > 1 for group in (COLOURS, LETTERS))
    if differ and same:
        return check("passed", f"answers differ from image to image; {read}")
    if 2 * named > len(right):
        return check("passed", read)
    apart = seen.apart("colour 0", "colour 1")
    if apart:
        return check("passed", f"log-probabilities differ from image to image; {read}")
    if apart is not None:
        return check("failed", "log-probabilities of the answer are the same for a red and for a blue image")
    shown, none = seen.answers["colour 0"], seen.answers["none"]
    if shown.image_tokens == 0 or _fewer(shown.prompt_tokens, none):
        return check("failed", f"the prompt has {shown.prompt_tokens} tokens with an image and without one")
    alike = f"it answers every image alike ({_quote(shown.text)})" if same else "its answers are not reproducible"
    return check("not applicable", f"{alike}, and shows no log-probabilities; {read}")


def _fewer(tokens: int | None, none: Answer) -> bool:
    return tokens is not None and not none.error and none.prompt_tokens is not None and tokens <= none.prompt_tokens


def _order(seen: Seen, same: bool) -> Check:
    def check(outcome: CheckOutcome, found: str) -> Check:
        return Check(
            "order of images", outcome, found, "the first image first, and both of them",
            "Images are mixed up on their way to the model: check the chat template (--chat-template FILE) and the "
            "server's version.", stops=True,
        )  # fmt: skip

    answers = {name: seen.answers[name] for name in PAIRS}
    if error := next((answer.error for answer in answers.values() if answer.error), ""):
        return check("not applicable", f"two images in one prompt are not possible: {error}")
    if found := _misplaced(seen, answers):
        return check("failed", found)
    named = sum(_says(answer.text, PAIRS[name][0]) for name, answer in answers.items())
    if all(_says(a.text, PAIRS[n][1]) and not _says(a.text, PAIRS[n][0]) for n, a in answers.items()):
        return check("failed", "asked about one of two images, it names the other one's letter, four times of four")
    if named == len(PAIRS):
        return check("passed", "the letters of the first and the second image are named, in both orders")
    ours, swapped = seen.ours("first HK"), seen.ours("first KH")
    if ours is not None and ours != swapped and seen.theirs("first HK") == ours:
        return check("passed", "the prompt's ids show the first image first")
    texts = [seen.texts([name.replace("HK", order) for name in PAIRS if "HK" in name]) for order in ("HK", "KH")]
    apart = True if same and texts[0] != texts[1] else seen.apart("first HK", "first KH")
    if apart is False:
        return check("failed", "log-probabilities of the answer are the same for two images in either order")
    matters = "the order matters to its answers; which is the first" if apart else "the order"
    return check("not applicable", f"{matters} cannot be told: {named} of 4 letters are named, and no ids tell it")


def _misplaced(seen: Seen, answers: Mapping[str, Answer]) -> str:
    """What sizes and ids say against the order, if anything."""
    for name, answer in answers.items():
        first, second = (seen.target(image.size) for image in seen.requests[name].images)
        if answer.sent_size is not None and tuple(answer.sent_size) == second:
            return f"the first of two images was sent as {_size(second)} px; it has {_size(first)}"
    ours, swapped = seen.ours("first HK"), seen.ours("first KH")
    if ours is None or swapped is None or ours == swapped:
        return ""
    theirs = seen.theirs("first HK")
    if theirs == swapped:
        return "the prompt's ids show the second image first"
    token, single = seen.visual_token, seen.ours("colour 0")
    if theirs is None or single is None or token is None:
        return ""
    if theirs.count(token) == single.count(token) != ours.count(token):
        return f"the prompt has {theirs.count(token)} visual tokens for two images, as many as for one"
    return ""


def _tokens(seen: Seen) -> Check:
    def check(outcome: CheckOutcome, found: str) -> Check:
        return Check(
            "visual tokens", outcome, found, "as many as the model's own processor makes of the same image",
            "Something between us and the model rescales images: lift the server's limits (mm_processor_kwargs, "
            "image size limits of a proxy), or pass --max-pixels so that all engines see the same.",
        )  # fmt: skip

    for name in reversed(SIZES):
        wanted, sent = seen.target(seen.requests[name].images[0].size), seen.answers[name].sent_size
        if sent is not None and tuple(sent) != wanted:
            return check("failed", f"an image of {_size(wanted)} px was sent as {_size(sent)}")
    if seen.visual_token is None:
        return check("not applicable", "the model's processor is not to be had")
    counts = {name: counted for name in COUNTED if (counted := _counts(seen, name))}
    if not counts:
        return check("not applicable", "the engine counts no tokens")
    for name, (found, expected) in counts.items():
        if found != expected:
            size = " and ".join(_size(image.size) for image in seen.requests[name].images)
            like = _like(seen, name, found)
            return check("failed", f"an image of {size} px takes {found} visual tokens instead of {expected}{like}")
    told = ", ".join(f"{counts[n][0]} for {_size(seen.requests[n].images[0].size)} px" for n in SIZES if n in counts)
    return check("passed", told)


def _counts(seen: Seen, name: str) -> tuple[int, int] | None:
    """Visual tokens of a request: as the engine counts them, and as the processor does."""
    ours, token, answer = seen.ours(name), seen.visual_token, seen.answers[name]
    if ours is None or token is None or answer.error:
        return None
    expected = ours.count(token)
    if answer.image_tokens is not None:
        return answer.image_tokens, expected
    for base in ("none", "small"):  # a template of its own would make all prompts longer by the same number
        known, length = seen.ours(base), seen.answers[base].prompt_tokens
        if known is not None and length is not None and answer.prompt_tokens is not None:
            return expected + (answer.prompt_tokens - len(ours)) - (length - len(known)), expected
    return None


def _like(seen: Seen, name: str, found: int) -> str:
    """Which smaller image has so many tokens, to name what was done to this one."""
    request, token = seen.requests[name], seen.visual_token
    if len(request.images) > 1 or seen.reference is None or token is None or found < 1:
        return ""
    image, low, high = request.images[0], 0.0, 1.0
    for _ in range(10):
        middle = (low + high) / 2
        size = max(1, round(image.width * middle)), max(1, round(image.height * middle))
        ids = seen.reference.ids(replace(request, images=(image.resize(size),)))
        count = ids.count(token) if ids else 0
        if abs(count - found) <= CLOSE * found:
            return f", as one of about {_size(size)} px does: it is rescaled on its way to the model"
        low, high = (middle, high) if count < found else (low, middle)
    return ""


def _greedy(seen: Seen) -> Check:
    def check(outcome: CheckOutcome, found: str) -> Check:
        return Check(
            "greedy is greedy", outcome, found, "the same answer to the same question, alone and in a batch",
            "Scores will wobble between runs: check that the server neither samples nor applies penalties of its own; "
            "--repeats 2 measures the noise, --dtype float32 or a batch-invariant mode removes it.",
        )  # fmt: skip

    if (seen.engine.info.get("generation") or {}).get("temperature"):
        return check("not applicable", "sampling was asked for (--temperature)")
    one, again, other = seen.alone
    batched = seen.answers["colour 0"], seen.answers["letter 1"]
    if any(answer.error for answer in (*seen.alone, *batched)):
        return check("not applicable", "some of the questions failed")
    if one.text != again.text:
        return check("failed", f"the same question is answered {_quote(one.text)} and {_quote(again.text)}")
    for lone, many in zip((one, other), batched, strict=True):
        if lone.text != many.text:
            return check("failed", f"alone it answers {_quote(lone.text)}, in a batch {_quote(many.text)}")
    return check("passed", "the same answers twice, alone and in a batch")


def _thinking(seen: Seen) -> Check:
    def check(outcome: CheckOutcome, found: str) -> Check:
        return Check(
            "thinking is off", outcome, found, "answers without a chain of thought",
            "Measure an instruct model, switch thinking off in the server or in a --chat-template FILE, or raise "
            "--max-new-tokens and say so beside the numbers.",
        )  # fmt: skip

    answers = [answer for answer in (*seen.answers.values(), *seen.alone) if not answer.error]
    if not answers:
        return check("not applicable", "no question was answered")
    thoughts = [match[0] for answer in answers if (match := THINKING.search(answer.text))]
    if thoughts:
        return check("failed", f"{len(thoughts)} of {len(answers)} answers hold {_quote(thoughts[0])}")
    longer = [answer for answer in answers if (answer.output_tokens or 0) > HIDDEN + len(answer.text)]
    if 2 * len(longer) > len(answers):  # as a server does that takes the thoughts out of the answer
        one = longer[0]
        return check("failed", f"{one.output_tokens} tokens are generated for an answer of {len(one.text)} characters")
    for ids in (seen.theirs("colour 0"), seen.ours("colour 0")):
        if ids and seen.reference and OPENED.search(seen.reference.opening(ids)):
            return check("failed", "the prompt ends with the beginning of a thought")
    return check("passed", f"no thoughts in {len(answers)} answers")


def _prompt(seen: Seen) -> Check:
    def check(outcome: CheckOutcome, found: str) -> Check:
        return Check(
            "prompt", outcome, found, "the prompt that the model's own template makes",
            "The engine asks in other words: check its chat template, a system prompt of its own, and its limit on the "
            "length of prompts; --chat-template FILE sets the same template everywhere.",
        )  # fmt: skip

    token = seen.visual_token
    compared = counted = 0
    for name in ("none", "colour 0", "first HK", "large"):
        ours, theirs, answer = seen.ours(name), seen.theirs(name), seen.answers[name]
        if ours is None or answer.error:
            continue
        text = [i for i in ours if i != token]
        if theirs is not None:
            compared += 1
            shown = [i for i in theirs if i != token]
            if shown != text:
                return check("failed", f"its ids differ from ours in {_first_difference(shown, text)}")
        # Without a count of its visual tokens, an image that was rescaled would be blamed on the prompt.
        visual = 0 if name == "none" else answer.image_tokens
        if answer.prompt_tokens is not None and visual is not None and answer.prompt_tokens - visual != len(text):
            return check("failed", f"it reads {answer.prompt_tokens - visual} tokens of text, and we {len(text)}")
        counted += answer.prompt_tokens in (len(ours), len(text) + (visual or 0))
    if compared:
        return check("passed", f"the ids of {compared} prompts are ours")
    if counted:
        return check("passed", f"{counted} prompts are as long as ours; their ids are not shown")
    return check("not applicable", "the engine shows neither ids nor lengths of prompts, or no processor is to be had")


def _first_difference(one: Sequence[int], other: Sequence[int]) -> str:
    place = next((i for i, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), None)
    if place is None:
        return f"length: {len(one)} and {len(other)} tokens of text"
    return f"text token {place + 1}: {one[place]} and {other[place]}"


def _says(text: str, word: str) -> bool:
    """Whether an answer names a colour, or a letter by itself."""
    return re.search(rf"(?<![a-z]){word}(?![a-z])", text, re.IGNORECASE) is not None


def _size(size: Sequence[int]) -> str:
    return f"{size[0]} x {size[1]}"


def _quote(text: str) -> str:
    return quoted(" ".join(text.split()), 60)
