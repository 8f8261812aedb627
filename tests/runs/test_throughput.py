"""Rates and projections, checked against sums done by hand."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from gapbench.commands.measure import workload
from gapbench.data.benchmark import Benchmark
from gapbench.data.task import Task
from gapbench.runs.throughput import ThroughputMeter, Workload
from gapbench.types import Answer, Card, Sample
from gapbench.views.views import parse_views


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """clock[0] is the time, in seconds."""
    now = [1000.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


def meter_for(total: Workload) -> ThroughputMeter:
    return ThroughputMeter(total, started=time.perf_counter())


def benchmark(name: str, expected: int | None = None, **parameters: Any) -> Benchmark:
    card = Card(name, "", "", "", expected={} if expected is None else {"samples": expected})
    return Benchmark(name, card, lambda: iter(()), parameters)


def samples(count: int) -> list[Sample]:
    return [Sample(str(i), None, "?", ("a",)) for i in range(count)]


def test_the_issues_example_word_for_word(clock: list[float]) -> None:
    meter = meter_for(Workload(23_609, 2, 47_218))
    for _ in range(47):
        meter.count(Answer("a"))
    clock[0] += 47 * 11_400 / 47_218  # 3 h 10 min for all of it
    assert meter.text() == "23,609 samples x 2 views: about 3 h 10 min at this rate"


def test_before_the_first_answer_nothing_is_promised() -> None:
    meter = meter_for(Workload(10, 2, 20))
    assert meter.text() == ""
    assert meter.json(None)["projection"]["seconds"] is None
    json.dumps(meter.json(0.0), allow_nan=False)


def test_one_view_and_views_that_differ_are_worded_so(clock: list[float]) -> None:
    texts = []
    for views in (1, None):
        meter = meter_for(Workload(3, views, 3))
        meter.count(Answer("a"))
        clock[0] += 60
        texts.append(meter.text())
    assert texts == [
        "3 samples x 1 view: about 3 min at this rate",
        "3 samples: about 3 min at this rate",
    ]


def test_rates_are_over_this_session(clock: list[float]) -> None:
    meter = meter_for(Workload(100, 2, 200))
    clock[0] += 4
    for _ in range(6):
        meter.count(Answer("a", prompt_tokens=100, output_tokens=5))
    meter.count(Answer(error="no"))
    meter.count(Answer("a"))
    result = meter.json(waited=1.0)
    assert result == {
        "answers": 8,
        "seconds": 4.0,
        "answers_per_second": 2.0,
        "prompt_tokens_per_second": 150.0,
        "output_tokens_per_second": 7.5,
        "waited_for_images": 0.25,
        "projection": {
            "samples": 100, "views": 2, "answers": 200, "seconds": 100.0,
            "text": "100 samples x 2 views: about 2 min at this rate",
        },
    }  # fmt: skip


@pytest.mark.parametrize(("waited", "share"), [(None, None), (0.0, 0.0), (2.0, 0.5), (9.0, 1.0)])
def test_the_share_of_waiting_is_a_share_or_not_known(clock: list[float], waited: Any, share: Any) -> None:
    meter = meter_for(Workload(1, 1, 1))
    clock[0] += 4
    assert meter.json(waited)["waited_for_images"] == share


def tasks(counts: dict[str, int], views: dict[str, str], benchmarks: list[Benchmark]) -> list[Task]:
    return [
        Task(b.name, b, tuple(samples(counts[b.name])), parse_views(views.get(b.name, "full,crop"))) for b in benchmarks
    ]


def test_without_a_limit_the_workload_is_all_samples() -> None:
    both = tasks({"a": 3, "b": 5}, {}, [benchmark("a", 191), benchmark("b")])
    assert workload(both, 2, None, 1, {}) == Workload(8, 2, 32)


def test_with_a_limit_the_cards_say_how_many_there_would_be() -> None:
    three = tasks(dict.fromkeys("abc", 5), {"b": "full"}, [benchmark("a", 191), benchmark("b"), benchmark("c", 2)])
    assert workload(three, 1, 5, 1, {}) == Workload(191 + 5 + 5, None, 2 * 191 + 5 + 2 * 5)


def test_a_shards_workload_is_its_own_share() -> None:
    assert workload(tasks({"a": 10}, {}, [benchmark("a", 1000)]), 1, 80, 8, {}) == Workload(125, 2, 250)
    assert workload(tasks({"a": 124}, {}, [benchmark("a", 1000)]), 1, None, 8, {}) == Workload(124, 2, 248)


def test_parameters_that_a_user_gave_make_another_benchmark_than_the_card_counts() -> None:
    wishes = {"a": {"canvas": 96}}
    for typed, expected in (({}, 1000), ({"canvas": 96}, 1000), ({"canvas": 96, "samples": 50}, 10)):
        task = tasks({"a": 10}, {"a": "full"}, [benchmark("a", 1000, **typed)])
        assert workload(task, 1, 10, 1, wishes).samples == expected
    assert workload(tasks({"a": 10}, {"a": "full"}, [benchmark("a", 1000, canvas=96)]), 1, 10, 1, {}).samples == 10
