"""From some images to lines of the audit file: windows, objects, questions, gates, and what else is asked of survivors.

    lines = make(range(0, 64), images, checks)      # one an image, with its rows, kept and rejected

Limits: an image that cannot be read gets a line with the reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from gapbench.errors import SampleError
from gapbench.proposals.asking import NO_IMAGE, Ask, image_size
from gapbench.proposals.gates import (
    ANSWER_TOKENS,
    Candidate,
    Checks,
    FoundObject,
    ImageReading,
    WindowReading,
    check,
    find_objects,
)
from gapbench.proposals.windows import area, overlap, shown_pixels, windows
from gapbench.types import Sample
from gapbench.views.regions import Size, padded

TOKEN_PIXELS = 32 * 32
"""Pixels of a visual token, where the budget is shared out: those of Qwen's and InternVL's families, or nearly."""
GROWN = 1.5
EXAMPLE = 120
"""Most characters of a reply that is shown as an example."""
REPHRASED = "Look closely and answer in a word or two. {question}"
COUNTS = ("windows", "one_object", "objects", "no_question", "failed_windows", "failed", "no_listing")
"""Counts of an image's line: windows asked, windows with one object, objects found, objects without a question; windows
and readings of any kind without an answer; and replies to windows that are no listing."""

EXAMPLES = ("fault", "no_listing_such_as")
"""Texts of an image's line: why a reading has no answer, and a reply that is no listing.
The first of each, or empty."""


def make(numbers: Iterable[int], images: Sequence[Sample], checks: Checks) -> list[dict[str, Any]]:
    """One line for each image, by its number, in this order."""
    sizes: dict[int, Size] = {}
    lines: dict[int, dict[str, Any]] = {}
    for number in numbers:
        lines[number] = {"image": images[number].id, "number": number, "size": None, "error": "", "rows": []}
        lines[number] |= dict.fromkeys(EXAMPLES, "")
        try:
            sizes[number] = image_size(images[number])
            lines[number]["size"] = list(sizes[number])
        except SampleError as error:
            lines[number]["error"] = str(error)
    scenes = _scenes(sizes, checks, lines)
    rows = _rows(scenes, checks, lines)
    check(rows, checks)
    notes = _notes(rows, checks)
    for scene in scenes:
        of_image = [row for row in rows if row.scene is scene]
        line = lines[scene.image]
        line["rows"] = [
            _json(f"{line['image']}-{n}", row, notes.get(id(row), {})) for n, row in enumerate(of_image)
        ] + _unnested(scene)
        noted = [note["error"] for row in line["rows"] for note in row["notes"].values()]
        for fault in filter(None, [*(row.fault for row in of_image), *noted]):
            line |= {"failed": line["failed"] + 1, "fault": line["fault"] or fault}
    return list(lines.values())


def window_asks(number: int, size: Size, checks: Checks) -> list[Ask]:
    """What is asked of an image's windows."""
    boxes = windows(size, checks.settings)
    most = shown_pixels(len(boxes), TOKEN_PIXELS, checks.settings)
    return [Ask(number, box, checks.proposer.prompt, most) for box in boxes]


def _scenes(sizes: dict[int, Size], checks: Checks, lines: dict[int, dict[str, Any]]) -> list[ImageReading]:
    asks = {number: window_asks(number, size, checks) for number, size in sizes.items()}
    read = checks.readings.ask([ask for of_image in asks.values() for ask in of_image], checks.proposer.tokens)
    scenes = []
    for number, size in sizes.items():
        seen = tuple(
            WindowReading(ask.box, listed, read[ask].confidence)
            for ask in asks[number] if ask.box and (listed := checks.listed(read[ask]))
        )  # fmt: skip
        replies = [read[ask] for ask in asks[number]]
        faults = [reply.error for reply in replies if reply.failed]
        unread = [reply.text for reply in replies if checks.no_listing(reply)]
        lines[number] |= {
            "windows": len(replies), "failed_windows": len(faults), "failed": len(faults), "no_listing": len(unread),
            "fault": faults[0] if faults else "", "no_listing_such_as": next(filter(str.strip, unread), "")[:EXAMPLE],
        }  # fmt: skip
        nesting = "nesting" in checks.settings.gates
        found = find_objects(seen, checks.proposer.attributes, nesting)
        grown = (replace(one, box=padded([one.box], size, checks.settings.margin, min_side=1)) for one in found)
        scenes.append(ImageReading(number, size, seen, tuple(grown)))
    return scenes


def _rows(scenes: Sequence[ImageReading], checks: Checks, lines: dict[int, dict[str, Any]]) -> list[Candidate]:
    proposer = checks.proposer
    prompts: dict[int, Ask] = {}
    if proposer.ask:
        prompts = {id(o): Ask(NO_IMAGE, None, proposer.ask_prompt(o.facts)) for s in scenes for o in s.objects}
    replies = checks.readings.ask(prompts.values(), proposer.tokens)
    rows = []
    for scene in scenes:
        line, unasked = lines[scene.image], 0
        for one in scene.objects:
            if proposer.ask:
                reply = replies[prompts[id(one)]]
                made = proposer.asked(reply.text, one.facts)
                questions = [made] if made else []
                unasked -= reply.failed
                line |= {"failed": line["failed"] + reply.failed, "fault": line["fault"] or reply.error}
            else:
                questions = proposer.questions(one.facts)
            unasked += not questions
            rows += [Candidate(scene, one, question) for question in questions]
        alone = sum(len(w.listed) == 1 for w in scene.windows)
        line |= {"one_object": alone, "objects": len(scene.objects), "no_question": unasked}
    return rows


def _notes(rows: Sequence[Candidate], checks: Checks) -> dict[int, dict[str, Any]]:
    """What a surviving row of each object is asked for the estimate and the sheet: no gate depends on it."""
    kept = list({id(row.found): row for row in reversed(rows) if not row.rejected}.values())[::-1]
    places = {
        "full": lambda row: (row.scene.image, None),
        "small": lambda row: (row.scene.image, padded([row.found.small], row.scene.size)),
        "grown": lambda row: (row.scene.image, padded([row.found.box], row.scene.size, GROWN)),
        "crop": lambda row: (row.scene.image, row.crop),
    }
    notes: dict[int, dict[str, Any]] = {id(row): {} for row in kept}
    for name, place in places.items():
        for row, reading in zip(kept, checks.answers(kept, place), strict=True):
            notes[id(row)][name] = {**reading.json(), "same": row.says(reading)}
    if checks.proposer.count:  # a model that knows no wording but its own is not asked another
        asks = [Ask(r.scene.image, r.crop, REPHRASED.format(question=r.question.text)) for r in kept]
        read = checks.readings.ask(asks, ANSWER_TOKENS)
        for row, ask in zip(kept, asks, strict=True):
            notes[id(row)]["rephrased"] = {**read[ask].json(), "same": row.says(read[ask])}
    return notes


def _json(key: str, row: Candidate, notes: dict[str, Any]) -> dict[str, Any]:
    """The row's entry in the audit file. It holds the listed answer, which the data never do."""
    asked = row.question
    return {
        "id": key, "question": asked.text, "listed": asked.answer, "asked": asked.asked, "named": list(asked.named),
        **_of_object(row.found), "gates": row.gates, "rejected": row.rejected, "notes": notes,
    }  # fmt: skip


def _of_object(one: FoundObject) -> dict[str, Any]:
    return {
        "facts": dict(one.facts),
        "bbox": one.box,
        "small": one.small,
        "around": one.around,
        "confidence": one.confidence,
    }


def _unnested(scene: ImageReading) -> list[dict[str, Any]]:
    """The surest window whose object no other window confirms, as a rejected row: an example of many."""
    places = [one.small for one in scene.objects]
    left = [w for w in scene.windows if len(w.listed) == 1 and not any(overlap(w.box, box) for box in places)]
    if not left:
        return []
    one = max(left, key=lambda w: (w.confidence or 0, area(w.box)))
    alone = _of_object(FoundObject(one.listed[0], one.box, one.box, one.box, one.listed, one.confidence))
    return [{"id": "", "question": "", "listed": "", **alone, "gates": {}, "rejected": "nesting", "notes": {}}]
