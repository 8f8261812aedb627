"""Gates: the checks that a proposed row must pass, in the order of `thresholds.yaml`. Each value is kept and counted.

    for row in rows: ...                     # row.gates == {"unique": 0, "answer": {"output": "H", "confidence": 0.99}}
    check(rows, scene)                       # row.rejected names the gate that a row failed, "" if it passed all

A gate is a function from rows to (value, passed, fault) for each. One that asks the model asks about all rows at once.
Where it got no answer, `passed` is None: the row is rejected for that, and no row passes because of an error.

Limits: an error that the model makes in every window alike passes all gates. `unique` and `far` ask nothing: of windows
without an answer they know nothing, until the same call is made again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gapbench.errors import RunError
from gapbench.proposals.asking import NO_IMAGE, NOWHERE, Ask, PartReading, Readings
from gapbench.proposals.facts import Facts, agree, may_be
from gapbench.proposals.proposers import Proposer, Question
from gapbench.proposals.thresholds import Settings
from gapbench.proposals.windows import area, contains, elsewhere, overlap, shifted
from gapbench.scoring import score
from gapbench.types import Box, Sample
from gapbench.views.prompts import prompt
from gapbench.views.regions import Size, enclosing, padded

ANSWER_TOKENS = 32
"""Longest answer to a question or to how many there are, in tokens."""


@dataclass(frozen=True)
class WindowReading:
    """A window, the facts of each object that the model lists in it, and how sure the model is."""

    box: Box
    listed: tuple[Facts, ...]
    confidence: float | None


@dataclass(frozen=True)
class FoundObject:
    """An object that several windows agree on.

    `small` is the smallest window that shows it alone, and `box` lies around all that do so at this place. `around` is
    the larger window that lists it too, perhaps among others: `listed`.
    """

    facts: Facts
    box: Box
    small: Box
    around: Box
    listed: tuple[Facts, ...]
    confidence: float | None


@dataclass(frozen=True)
class ImageReading:
    """What is known of an image, by its number: its size, the windows that list objects, and the objects found."""

    image: int
    size: Size
    windows: tuple[WindowReading, ...]
    objects: tuple[FoundObject, ...]


@dataclass
class Candidate:
    """A question about an object, the values of its gates, and the gate that rejected it.

    `fault` is the error of a reading that the gate lacked; `rejected` then says so.
    """

    scene: ImageReading
    found: FoundObject
    question: Question
    gates: dict[str, Any] = field(default_factory=dict)
    rejected: str = ""
    fault: str = ""

    @property
    def prompt(self) -> str:
        """As training will ask it."""
        return prompt(Sample("", None, self.question.text, ()))

    @property
    def crop(self) -> Box:
        """What the crop shows in training, by the default region policy."""
        return padded([self.found.box], self.scene.size)

    def says(self, reading: PartReading) -> bool:
        """Whether a reading gives the listed answer."""
        return not reading.error and _is(reading.text, self.question.answer, self.question.text)


Place = Callable[[Candidate], tuple[int, Box | None] | None]
"""Where a row's question is asked: the number of an image and a part of it, or nowhere."""


@dataclass(frozen=True)
class Checks:
    """What gates need: the readings of the model, the proposer, the settings, and how many images there are.

    `evaluated` are the gates that decided about some row; `unread` has the errors of readings that gates lacked.
    """

    readings: Readings
    proposer: Proposer
    settings: Settings
    window_pixels: int
    images: int
    evaluated: set[str] = field(default_factory=set)
    unread: dict[str, list[str]] = field(default_factory=dict)

    def listed(self, reading: PartReading) -> tuple[Facts, ...]:
        """The objects that a reading lists; none if it was cut off."""
        return () if reading.cut_off else tuple(self.proposer.read(reading.text) or ())

    def no_listing(self, reading: PartReading) -> bool:
        """Whether the model answered, but not with a whole listing, be it an empty one."""
        return not reading.failed and (reading.cut_off or self.proposer.read(reading.text) is None)

    def answers(self, rows: Sequence[Candidate], place: Place) -> list[PartReading]:
        """The answer to each row's question at another place; an empty reading where there is none."""
        asks = [Ask(*found, row.prompt) if (found := place(row)) else None for row in rows]
        read = self.readings.ask(filter(None, asks), ANSWER_TOKENS)
        return [read[ask] if ask else PartReading(error=NOWHERE) for ask in asks]


Verdict = tuple[Any, bool | None, str]
"""The value of a gate, whether the row passed (None: a reading failed), and the error of that reading."""
GateResults = list[Verdict]
SURELY = 5
"""Rows whose readings failed, after which a gate that was evaluated for none ends the call before all is done."""
UNREAD = " could not be read"
"""The end of the reason of a row that a gate rejected because a reading failed."""


def check(rows: Sequence[Candidate], checks: Checks) -> None:
    """Pass the rows through the gates of the settings; what one rejects, the next ones do not ask about.

    Raises RunError as `refuse_unread` does.
    """
    for name in checks.settings.gates:
        if name == "nesting":  # decides which objects are found
            continue
        left = [row for row in rows if not row.rejected]
        for row, (value, passed, fault) in zip(left, GATES[name](left, checks), strict=True):
            row.gates[name], row.fault = value, fault
            row.rejected = "" if passed else name + UNREAD if passed is None else name
            if passed is None:
                checks.unread.setdefault(name, []).append(fault)
            else:
                checks.evaluated.add(name)
        refuse_unread(checks, SURELY)


def refuse_unread(checks: Checks, least: int = 1) -> None:
    """Raises RunError if a gate lacked at least so many readings and could be evaluated for no row at all."""
    for name, faults in checks.unread.items():
        if len(faults) >= least and name not in checks.evaluated:
            others = ", ".join(gate for gate in checks.settings.gates if gate != name)
            raise RunError(
                f"gate {name}: no row could be checked, because every reading for it failed ({faults[0]}). Answers so "
                "far are kept: if the fault passes, the same command asks these again. If the model cannot be asked "
                f"so, leave the gate out, with another --out: 'gates=[{others}]'."
            )


def find_objects(windows: Sequence[WindowReading], names: Sequence[str], nesting: bool) -> tuple[FoundObject, ...]:
    """The objects that windows show alone, no two at one place: the larger and then the surer window counts.

    With `nesting`, a window counts if a larger one around it lists the same object; of several, the one with the fewest
    objects is kept, of these the smallest. Without it, every window that shows one object counts.
    """
    alone = sorted(
        (one for one in windows if len(one.listed) == 1),
        key=lambda one: (-area(one.box), -(one.confidence or 0), one.box),
    )
    found: list[tuple[Box, FoundObject]] = []
    for window in alone:
        (facts,) = window.listed
        around = [
            outer for outer in windows
            if area(outer.box) > area(window.box) and contains(outer.box, window.box)
            and any(agree(facts, listed, names) for listed in outer.listed)
        ]  # fmt: skip
        if any(overlap(window.box, place) for place, _ in found) or (nesting and not around):
            continue
        outer = min(around, key=lambda one: (len(one.listed), area(one.box)), default=window)
        same = [
            one.box for one in alone
            if area(one.box) <= area(window.box) and overlap(one.box, window.box) and agree(one.listed[0], facts, names)
        ]  # fmt: skip
        box = enclosing(same) if nesting else window.box
        one = FoundObject(facts, box, min(same, key=area), outer.box, outer.listed, window.confidence)
        found.append((window.box, one))
    return tuple(one for _, one in found)


def unique(rows: Sequence[Candidate], checks: Checks) -> GateResults:
    """No other object that was found may be meant."""
    return [_none(sum(one is not row.found and _meant(row, one.facts) for one in row.scene.objects)) for row in rows]


def far(rows: Sequence[Candidate], checks: Checks) -> GateResults:
    """Neither a window elsewhere that is sure, nor the box itself, shows something else that may be meant."""

    def namesakes(row: Candidate) -> int:
        apart = [one for one in row.scene.windows if not overlap(one.box, row.found.around)]
        sure = [one for one in apart if one.confidence is None or one.confidence >= checks.settings.far_confidence]
        beside = sum(_meant(row, facts) for facts in row.found.listed) - 1
        return max(0, beside) + sum(any(_meant(row, facts) for facts in one.listed) for one in sure)

    return [_none(namesakes(row)) for row in rows]


def answer(rows: Sequence[Candidate], checks: Checks) -> GateResults:
    """The crop's answer is what was listed, with its confidence."""
    read = checks.answers(rows, lambda row: (row.scene.image, row.crop))
    least = checks.settings.answer_confidence
    return [_verdict(r, row.says(r) and r.sure(least)) for row, r in zip(rows, read, strict=True)]


def shifted_agree(rows: Sequence[Candidate], checks: Checks) -> GateResults:
    """Windows that are shifted a little read the same."""
    asks = {
        id(row): [Ask(row.scene.image, box, checks.proposer.prompt, checks.window_pixels)
                  for box in shifted(row.crop, checks.settings.shift, row.scene.size)]
        for row in rows
    }  # fmt: skip
    read = checks.readings.ask([ask for of_row in asks.values() for ask in of_row], checks.proposer.tokens)

    def verdict(row: Candidate) -> Verdict:
        names, least = (row.question.asked, *row.question.named), checks.settings.shifted_agree
        lists = [checks.listed(read[ask]) for ask in asks[id(row)]]
        agreeing = sum(any(agree(facts, row.found.facts, names) for facts in listed) for listed in lists)
        faults = [read[ask].error for ask in asks[id(row)] if read[ask].failed]
        if agreeing < least <= agreeing + len(faults):  # those that failed would decide
            return agreeing, None, faults[0]
        return agreeing, agreeing >= least, ""

    return [verdict(row) for row in rows]


def count_in_full(rows: Sequence[Candidate], checks: Checks) -> GateResults:
    """The full image holds one such object, says the model."""
    if not checks.proposer.count:
        return [(None, True, "")] * len(rows)
    prompts = [checks.proposer.count.format(description=checks.proposer.description(r.found.facts)) for r in rows]
    asks = [Ask(row.scene.image, None, text) for row, text in zip(rows, prompts, strict=True)]
    read = checks.readings.ask(asks, ANSWER_TOKENS)
    return [_verdict(read[a], score(read[a].text, ("1",), "number", (), a.prompt).outcome == "right") for a in asks]


def blind(rows: Sequence[Candidate], checks: Checks) -> GateResults:
    """Without an image the model does not surely give the answer."""
    return _foreign(rows, checks, lambda row: (NO_IMAGE, None))


def at_random(rows: Sequence[Candidate], checks: Checks) -> GateResults:
    """From a random crop that shows nothing of the object it does not surely give the answer."""

    def place(row: Candidate) -> tuple[int, Box | None] | None:
        key = f"gapbench propose random {checks.settings.seed} {row.scene.image} {row.found.box}"
        box = elsewhere(row.found.box, row.found.small, row.scene.size, key)
        return (row.scene.image, box) if box else None

    return _foreign(rows, checks, place)


def other(rows: Sequence[Candidate], checks: Checks) -> GateResults:
    """From the next image that can be read it does not surely give the answer."""

    def place(row: Candidate) -> tuple[int, Box | None] | None:
        others = ((row.scene.image + step) % checks.images for step in range(1, checks.images))
        number = next(filter(checks.readings.readable, others), None)
        return None if number is None else (number, None)

    return _foreign(rows, checks, place)


def disagreement(rows: Sequence[Candidate], checks: Checks) -> GateResults:
    """The full image is answered differently. Off by default: it selects errors and ambiguities."""
    read = checks.answers(rows, lambda row: (row.scene.image, None))
    return [_verdict(r, not row.says(r)) for row, r in zip(rows, read, strict=True)]


GATES: Mapping[str, Callable[[Sequence[Candidate], Checks], GateResults]] = {
    "unique": unique, "far": far, "answer": answer, "shifted": shifted_agree, "count": count_in_full, "blind": blind,
    "random": at_random, "other": other, "disagreement": disagreement,
}  # fmt: skip


def _foreign(rows: Sequence[Candidate], checks: Checks, place: Place) -> GateResults:
    read = checks.answers(rows, place)
    least = checks.settings.foreign_confidence
    return [_verdict(r, not (row.says(r) and r.sure(least))) for row, r in zip(rows, read, strict=True)]


def _verdict(reading: PartReading, passed: bool) -> Verdict:
    return reading.json(), None if reading.failed else passed, reading.error if reading.failed else ""


def _meant(row: Candidate, facts: Facts) -> bool:
    return may_be(row.found.facts, facts, row.question.named)


def _none(count: int) -> Verdict:
    return count, count == 0, ""


def _is(text: str, answer: str, question: str) -> bool:
    return score(text, (answer,), "text", (), question).outcome == "right"
