"""Shards of a run: disjoint, complete, even, the same for every worker, and an image in two only if it must be."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from helpers import write_benchmark
from hypothesis import given
from hypothesis import strategies as st

import gapbench
from gapbench import Sample
from gapbench.data.benchmark import group_of
from gapbench.errors import RunError, SettingError
from gapbench.runs import shards
from gapbench.runs.shards import SLACK, Shard, parse, share


def sample(number: int, cluster: str = "", image: Any = None) -> Sample:
    return Sample(id=f"q{number}", image=image, question="What?", answers=("yes",), cluster=cluster)


def homes(samples: list[Sample], of: int, name: str = "mine") -> dict[str, int]:
    """Sample id to shard number."""
    return {s.id: number for number in range(1, of + 1) for s in shared(samples, Shard(number, of), name)}


def shared(samples: list[Sample], shard: Shard, name: str = "mine") -> list[Sample]:
    return [samples[number] for number in share(name, [group_of(s) for s in samples], shard)]


clusters = st.lists(st.integers(0, 40), max_size=300)


@given(clusters, st.integers(1, 20))
def test_every_sample_is_in_exactly_one_shard_in_its_order(groups: list[int], of: int) -> None:
    samples = [sample(i, f"c{group}" if group else "") for i, group in enumerate(groups)]
    shares = [shared(samples, Shard(number, of)) for number in range(1, of + 1)]
    assert sorted(s.id for part in shares for s in part) == sorted(s.id for s in samples)
    for part in shares:
        numbers = [int(s.id[1:]) for s in part]
        assert numbers == sorted(numbers)


@given(clusters, st.integers(1, 20))
def test_loads_are_even(groups: list[int], of: int) -> None:
    loads = Counter(homes([sample(i, f"c{group}" if group else "") for i, group in enumerate(groups)], of).values())
    counts = [loads[number] for number in range(1, of + 1)]
    assert max(counts) - min(counts) <= SLACK


@given(clusters, st.integers(1, 20), st.integers(0, 300))
def test_a_higher_limit_later_moves_no_sample(groups: list[int], of: int, first: int) -> None:
    samples = [sample(i, f"c{group}" if group else "") for i, group in enumerate(groups)]
    all_homes = homes(samples, of)
    assert all(all_homes[key] == number for key, number in homes(samples[:first], of).items())


def test_samples_of_a_cluster_stay_together_and_without_one_loads_differ_by_one() -> None:
    images = [sample(i, f"image {i // 3}") for i in range(600)]
    shard_of = homes(images, 8)
    for i in range(0, 600, 3):
        assert len({shard_of[f"q{i + k}"] for k in range(3)}) == 1
    alone = Counter(homes([sample(i) for i in range(1001)], 8).values())
    assert set(alone.values()) == {125, 126}


def test_a_cluster_of_everything_is_shared_all_the_same() -> None:
    loads = Counter(homes([sample(i, "one film") for i in range(1000)], 4).values())
    assert max(loads.values()) - min(loads.values()) <= SLACK


def test_without_clusters_samples_about_one_image_stay_together(tmp_path: Path) -> None:
    def paint(number: int) -> None: ...

    for images in (
        [tmp_path / f"{i // 4}.png" for i in range(80)],
        [{"bytes": bytes([i // 4]), "path": None} for i in range(80)],
        [partial(paint, i // 4) for i in range(80)],
    ):
        shard_of = homes([sample(i, image=image) for i, image in enumerate(images)], 5)
        assert all(len({shard_of[f"q{i + k}"] for k in range(4)}) == 1 for i in range(0, 80, 4))
        assert len(set(shard_of.values())) == 5
    # Functions without arguments to compare count as different images.
    loads = Counter(homes([sample(i, image=lambda: None) for i in range(80)], 5).values())
    assert set(loads.values()) == {16}


def test_a_pattern_in_the_data_does_not_line_up_with_the_number_of_workers() -> None:
    first = Counter(
        number for key, number in homes([sample(i) for i in range(800)], 8).items() if int(key[1:]) % 8 == 0
    )
    assert set(first) == set(range(1, 9)), "every eighth sample, perhaps the hard ones, went to fewer workers"


def test_shares_are_the_same_on_every_machine_and_in_every_release() -> None:
    """Workers never communicate, and a later version may continue a run, so this order must never change."""
    shard_of = homes([sample(i, f"c{i // 2}") for i in range(12)], 3, "signs")
    assert [shard_of[f"q{i}"] for i in range(12)] == [3, 3, 2, 2, 1, 1, 3, 3, 2, 2, 1, 1]


@pytest.mark.parametrize("text", ["", "3", "0/4", "5/4", "-1/4", "1/0", "a/b", "1/2/3", "1.0/2"])
def test_what_is_no_shard_is_named(text: str) -> None:
    with pytest.raises(SettingError, match=r"--shard .*such as 2/8"):
        parse(text)
    assert parse("2/8") == Shard(2, 8)


def test_ranges() -> None:
    assert shards.ranges([1, 2, 3, 5, 8, 7]) == "1-3,5,7-8"
    assert shards.ranges([]) == ""


# --- through measure ------------------------------------------------------------------------------------------

Measure = Callable[..., gapbench.Run]


@pytest.fixture
def measure(tiny: Callable[[str], Path], tmp_path: Path) -> Measure:
    benchmark_file = write_benchmark(tmp_path / "data")

    def call(**changes: Any) -> gapbench.Run:
        settings: dict[str, Any] = {"model": str(tiny("qwen3_vl")), "benchmarks": [str(benchmark_file)],
                                    "out": tmp_path / "run", "max_new_tokens": 4, "selfcheck": False}  # fmt: skip
        return gapbench.measure(**{**settings, **changes})

    return call


def test_a_shard_measures_its_share_and_says_that_it_is_a_part(measure: Measure) -> None:
    run = measure(shard="2/3", repeats=2)
    sample_ids = set(run.frame()["sample"])
    assert 2 <= len(sample_ids) <= 6
    assert all((f"q{i}" in sample_ids) == (f"q{i + 1}" in sample_ids) for i in range(0, 12, 2)), (
        "an image went to two workers"
    )
    counts = {"samples": len(sample_ids), "answers": len(sample_ids) * 4}
    assert run.manifest["shard"] == {"of": 3, "parts": {"2": {"mine": counts}}}
    assert run.manifest["tasks"]["mine"]["samples"] == 12
    part = f"shard 2 of 3 ({len(sample_ids)} of 12 samples)"
    assert run.summary["part"] == part
    assert run.summary["verdict"].startswith(f"{part}: ")
    for name in ("report.html", "report.md"):
        text = (run.path / name).read_text()
        assert part.capitalize() in text
        assert "only a part of the run" in text


def test_a_shard_goes_on_where_it_stopped_and_refuses_to_become_another(measure: Measure) -> None:
    first = measure(shard="1/2")
    path = first.path / "records.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-3]))
    assert measure(shard="1/2").summary == first.summary
    for shard, label in (("2/2", "'2/2'"), ("1/3", "'1/3'"), ("", "not set")):
        with pytest.raises(RunError, match=rf"--shard '1/2', and now it is {label}"):
            measure(shard=shard)


def test_a_shard_can_be_extended(measure: Measure) -> None:
    before = set(measure(shard="1/2", limit=6).frame()["sample"])
    after = measure(shard="1/2")
    assert before < set(after.frame()["sample"])
    assert after.manifest["shard"]["parts"]["1"]["mine"]["samples"] == len(set(after.frame()["sample"]))


def test_a_worker_without_a_sample_is_done_at_once(measure: Measure, tmp_path: Path) -> None:
    runs = [measure(shard=f"{number}/4", limit=2, out=tmp_path / str(number)) for number in range(1, 5)]
    sizes = sorted(len(run.frame()) for run in runs)
    assert sizes == [0, 0, 0, 4], "both samples have the same image"
    for run in runs:
        assert run.report.is_file()
        assert json.loads((run.path / "summary.json").read_text()) == run.summary


def test_a_wrong_shard_is_named_before_anything_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="--shard 9/8"):
        gapbench.measure("nobody/nothing", "signs", shard="9/8", out=tmp_path / "run")
