"""What gates let pass, by a scripted engine."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gapbench.errors import RunError
from gapbench.proposals.asking import Ask, Readings
from gapbench.proposals.gates import Candidate, Checks, ImageReading, WindowReading, check, find_objects, refuse_unread
from gapbench.proposals.proposers import PROPOSERS
from gapbench.proposals.thresholds import load
from gapbench.proposals.windows import contains
from gapbench.types import Answer, Request, Sample
from gapbench.views.pixels import Pixels

RED, BLUE = {"colour": "red", "shape": "circle", "letter": "H"}, {"colour": "blue", "shape": "square", "letter": "K"}
NAMES = ("colour", "shape", "letter")
FAULT = "fault: "
BOX, INNER = (0.0, 0.0, 48.0, 48.0), (12.0, 12.0, 36.0, 36.0)


class Scripted:
    """An engine that answers by a function of what it is shown and asked."""

    info: dict[str, Any] = {}  # noqa: RUF012
    waited, trouble = None, info

    def __init__(self, reply: Callable[[Request], tuple[str, float]]) -> None:
        self.reply, self.asked = reply, 0

    def generate(self, requests: Iterable[Request]) -> Iterator[tuple[Hashable, Answer]]:
        for request in requests:
            self.asked += 1
            text, confidence = self.reply(request)
            error = text.removeprefix(FAULT) if text.startswith(FAULT) else ""
            yield request.key, Answer("" if error else text, confidence=confidence, error=error)

    def allow(self, max_new_tokens: int) -> None: ...

    def close(self) -> None: ...


def rows_of(
    tmp_path: Path,
    reply: Callable[[Request], tuple[str, float]],
    *settings: str,
    windows: tuple[WindowReading, ...] = (),
    all_done: bool = False,
    second: Sample | None = None,
) -> list[Candidate]:
    """The one row about a red sign, after all gates."""
    seen = (WindowReading(BOX, (RED,), 0.99), WindowReading(INNER, (RED,), 0.99), *windows)
    scene = ImageReading(0, (96, 96), seen, find_objects(seen, NAMES, True))
    images = [Sample(str(n), Image.new("RGB", (96, 96)), "", ()) for n in range(2)]
    images[1:1] = [second] if second else []
    readings = Readings(Scripted(reply), images, Pixels(), tmp_path / "readings.jsonl")
    proposer = replace(PROPOSERS["listing"], count=PROPOSERS["template"].count if "count]" in str(settings) else "")
    checks = Checks(readings, proposer, load(settings), 10**6, len(images))
    rows = [
        Candidate(scene, one, PROPOSERS["listing"].questions(one.facts)[0]) for one in scene.objects if one.facts == RED
    ]
    check(rows, checks)
    if all_done:
        refuse_unread(checks)
    return rows


def good(request: Request) -> tuple[str, float]:
    if request.prompt == "List the signs.":
        return "red-circle-H", 0.9
    box = request.key.box  # type: ignore[attr-defined]
    here = request.key.image == 0 and box and contains(box, INNER)  # type: ignore[attr-defined]
    return ("H", 0.95) if here else ("K", 0.9)


def test_a_sound_row_passes_every_gate_and_keeps_each_value(tmp_path: Path) -> None:
    (row,) = rows_of(tmp_path, good)
    assert row.rejected == ""
    assert set(row.gates) == {"unique", "far", "answer", "shifted", "count", "blind", "random", "other"}
    assert row.gates["answer"] == {"output": "H", "confidence": 0.95, "error": ""}


@pytest.mark.parametrize(
    ("gate", "reply"),
    [
        ("answer", lambda r: ("K", 0.99)),
        ("answer", lambda r: ("H", 0.5)),
        ("shifted", lambda r: ("blue-square-K", 0.99) if r.prompt == "List the signs." else good(r)),
        ("blind", lambda r: ("H", 0.99) if not r.images else good(r)),
        (
            "random",
            lambda r: ("H", 0.99) if r.images and r.key.image == 0 and r.prompt != "List the signs." else good(r),
        ),
        ("other", lambda r: ("H", 0.99) if r.images and r.key.image == 1 else good(r)),
        ("disagreement", lambda r: ("H", 0.99) if r.key.image == 0 and r.key.box is None else good(r)),
    ],
)
def test_each_gate_rejects_what_it_is_for(tmp_path: Path, gate: str, reply: Any) -> None:
    (row,) = rows_of(tmp_path, reply, f"gates=[{gate}]")
    assert row.rejected == gate


ASKING_GATES = ("answer", "shifted", "count", "blind", "random", "other", "disagreement")


@pytest.mark.parametrize("gate", ASKING_GATES)
def test_no_gate_passes_a_row_because_its_reading_failed(tmp_path: Path, gate: str) -> None:
    (row,) = rows_of(tmp_path, lambda r: ("fault: HTTP 400", 0.9), f"gates=[{gate}]")
    assert (row.rejected, row.fault) == (f"{gate} could not be read", "HTTP 400")


@pytest.mark.parametrize("gate", ASKING_GATES)
def test_a_gate_that_could_be_evaluated_for_no_row_ends_the_call_with_the_remedy(tmp_path: Path, gate: str) -> None:
    with pytest.raises(RunError, match=rf"gate {gate}: no row .*\(HTTP 400\).*'gates=\[unique\]'"):
        rows_of(tmp_path, lambda r: ("fault: HTTP 400", 0.9), f"gates=[unique, {gate}]", all_done=True)


@pytest.mark.parametrize(("failing", "rejected"), [(1, ""), (2, "shifted could not be read")])
def test_shifted_windows_that_failed_count_only_where_they_would_decide(
    tmp_path: Path, failing: int, rejected: str
) -> None:
    asked: list[Request] = []

    def reply(request: Request) -> tuple[str, float]:
        asked.append(request)
        return ("fault: HTTP 500", 0.9) if len(asked) <= failing else good(request)

    (row,) = rows_of(tmp_path, reply, "gates=[shifted]")
    assert (len(asked), row.rejected) == (4, rejected)


def test_the_next_image_is_one_that_can_be_read(tmp_path: Path) -> None:
    broken = Sample("broken", b"no image", "", ())
    seen: list[int] = []
    (row,) = rows_of(tmp_path, lambda r: seen.append(r.key.image) or ("K", 0.9), "gates=[other]", second=broken)  # type: ignore[func-returns-value, attr-defined]
    assert (row.rejected, seen) == ("", [2])


def test_a_failed_reading_is_asked_again_and_no_other(tmp_path: Path) -> None:
    rows_of(tmp_path, lambda r: good(r) if r.images else ("fault: HTTP 500", 0.9))
    asked: list[Request] = []
    (row,) = rows_of(tmp_path, lambda r: asked.append(r) or good(r))  # type: ignore[func-returns-value]
    assert row.rejected == ""
    assert [bool(request.images) for request in asked] == [False, True, True]  # blind, and the gates behind it


def test_a_gate_that_is_left_out_asks_nothing(tmp_path: Path) -> None:
    (row,) = rows_of(tmp_path, lambda r: pytest.fail("asked"), "gates=[nesting, unique, far]")
    assert set(row.gates) == {"unique", "far"}


@pytest.mark.parametrize("confidence", [0.95, None, 0.5])
def test_a_namesake_elsewhere_rejects_unless_its_window_is_unsure(tmp_path: Path, confidence: float | None) -> None:
    far = WindowReading((72.0, 72.0, 96.0, 96.0), ({**RED, "letter": "T"}, BLUE), confidence)
    (row,) = rows_of(tmp_path, good, "gates=[nesting, far]", windows=(far,))
    assert row.rejected == ("" if confidence == 0.5 else "far")


def test_a_namesake_within_the_box_rejects(tmp_path: Path) -> None:
    seen = (WindowReading(BOX, (RED, {**RED, "letter": "T"}), 0.99), WindowReading(INNER, (RED,), 0.99))
    (one,) = find_objects(seen, NAMES, True)
    assert len(one.listed) == 2
    row = Candidate(ImageReading(0, (96, 96), seen, (one,)), one, PROPOSERS["listing"].questions(RED)[0])
    readings = Readings(Scripted(good), [], Pixels(), tmp_path / "readings.jsonl")
    check([row], Checks(readings, PROPOSERS["listing"], load(["gates=[far]"]), 1, 1))
    assert row.rejected == "far"


def test_an_object_needs_a_larger_window_that_lists_it_of_which_the_one_with_the_fewest_objects_is_kept() -> None:
    inner, alone = WindowReading(INNER, (RED,), 0.9), WindowReading((60.0, 60.0, 84.0, 84.0), (BLUE,), 0.9)
    crowded, larger = WindowReading(BOX, (RED, BLUE), 0.9), WindowReading((0.0, 0.0, 64.0, 64.0), (RED,), 0.9)
    assert find_objects((alone,), NAMES, True) == ()
    assert [one.facts for one in find_objects((alone,), NAMES, False)] == [BLUE]
    (one,) = find_objects((larger, crowded, inner), NAMES, True)
    assert (one.around, one.small) == (larger.box, inner.box)


def test_the_box_lies_around_all_windows_that_show_the_object_alone() -> None:
    outer, beside = WindowReading((0.0, 0.0, 64.0, 64.0), (RED, BLUE), 0.9), (24.0, 12.0, 48.0, 36.0)
    seen = (outer, WindowReading(INNER, (RED,), 0.9), WindowReading(beside, (RED,), 0.8))
    (one,) = find_objects(seen, NAMES, True)
    assert one.box == (12, 12, 48, 36)


def test_two_readings_of_one_place_are_one_object() -> None:
    outer = WindowReading((0.0, 0.0, 64.0, 64.0), (RED, BLUE), 0.9)
    seen = (outer, WindowReading(INNER, (RED,), 0.8), WindowReading((24.0, 24.0, 48.0, 48.0), (BLUE,), 0.9))
    assert [one.facts for one in find_objects(seen, NAMES, True)] == [BLUE]


def test_what_is_on_disk_is_not_asked_again(tmp_path: Path) -> None:
    rows_of(tmp_path, good)
    (row,) = rows_of(tmp_path, lambda r: pytest.fail("asked again"))
    assert row.rejected == ""


def test_what_was_read_stays_on_disk_for_images_that_are_not_done_alone(tmp_path: Path) -> None:
    images = [Sample(str(n), Image.new("RGB", (96, 96)), "", ()) for n in range(3)]
    asks = [Ask(n, BOX, "List the signs.") for n in range(3)]

    def opened() -> Readings:
        return Readings(Scripted(good), images, Pixels(), tmp_path / "readings.jsonl")

    first = opened()
    for n, keep in ((0, True), (1, False), (2, True)):
        first.ask(asks[n : n + 1], 8)
        first.forget(keep)
    again = opened()
    again.ask(asks, 8)
    assert again.tokens["asked"] == 1
    again.forget()
    again.ask(asks[:1], 8)
    assert again.tokens["asked"] == 1  # the others' are still known, for when their turn comes
