"""Manifests: what a continued run may change, what it keeps of earlier sessions, and which changes are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from engines.stub_server import HttpRequest, Response, Stub, chat
from helpers import write_benchmark

import gapbench
from gapbench.engines.chat import chat_template_source
from gapbench.errors import RunError
from gapbench.runs.manifest import SelfcheckEntry, differences, read_manifest, worst_check


@pytest.fixture
def benchmark_file(tmp_path: Path) -> Path:
    return write_benchmark(tmp_path / "data")


def serving(root: str) -> Stub:
    """A server that reports `root` as the model that it calls `stub`."""

    def reply(request: HttpRequest, number: int) -> Response:
        return chat("yes")

    models = {"data": [{"id": "stub", "root": root}]}
    return Stub(reply, models=Response(body=json.dumps(models).encode()))


def measure(url: str, benchmark_file: Path, out: Path, **changes: Any) -> gapbench.Run:
    settings: dict[str, Any] = {"engine": "server", "base_urls": [url], "selfcheck": False, **changes}
    return gapbench.measure("stub", [str(benchmark_file)], out=out, **settings)


def test_a_server_whose_name_now_means_another_model_causes_a_warning(benchmark_file: Path, tmp_path: Path) -> None:
    with serving("org/small") as small, serving("org/large") as large:
        measure(small.url, benchmark_file, tmp_path / "run", limit=4)
        with pytest.warns(UserWarning, match=r"stub is org/small for some of the answers and org/large for others"):
            run = measure(large.url, benchmark_file, tmp_path / "run")
        roots = [session["servers"][0]["models"][0]["root"] for session in run.manifest["sessions"]]
        assert roots == ["org/small", "org/large"]
        assert [session["base_urls"] for session in run.manifest["sessions"]] == [[small.url], [large.url]]


def test_shards_of_two_models_with_the_same_name_cause_a_warning(benchmark_file: Path, tmp_path: Path) -> None:
    with serving("org/small") as small, serving("org/large") as large:
        measure(small.url, benchmark_file, tmp_path / "1", shard="1/2")
        measure(large.url, benchmark_file, tmp_path / "2", shard="2/2")
    with pytest.warns(UserWarning, match=r"org/small for some of the answers and org/large"):
        merged = gapbench.merge([tmp_path / "1", tmp_path / "2"], tmp_path / "whole")
    assert len(merged.manifest["sessions"]) == 2
    assert all(session["servers"] for session in merged.manifest["sessions"])


def test_a_self_check_that_failed_for_a_part_of_the_answers_is_kept() -> None:
    passed = SelfcheckEntry(checks={"a": {"outcome": "passed"}, "b": {"outcome": "not applicable"}})
    failed = SelfcheckEntry(checks={"a": {"outcome": "failed"}, "b": {"outcome": "passed"}})
    assert worst_check([passed, failed]) is worst_check([failed, passed]) is failed


def test_fewer_repeats_than_there_are_answers_for_are_refused(benchmark_file: Path, tmp_path: Path) -> None:
    with serving("org/small") as small:
        measure(small.url, benchmark_file, tmp_path / "run", repeats=2)
        with pytest.raises(RunError, match="started with mine --repeats 2, and now it is 1"):
            measure(small.url, benchmark_file, tmp_path / "run")
        assert measure(small.url, benchmark_file, tmp_path / "run", repeats=3).manifest["tasks"]["mine"]["repeats"] == 3


def test_a_chat_template_is_known_by_its_text(tmp_path: Path) -> None:
    first, different, copy = (tmp_path / name for name in ("first.jinja", "different.jinja", "copy.jinja"))
    for file, text in ((first, "a"), (different, "b"), (copy, "a")):
        file.write_text(text)
    assert chat_template_source(first) == chat_template_source(copy)
    assert len({chat_template_source(first), chat_template_source(different), chat_template_source(None)}) == 3


def test_a_difference_inside_a_setting_is_named(benchmark_file: Path, tmp_path: Path) -> None:
    with serving("org/small") as small:
        manifest = read_manifest(measure(small.url, benchmark_file, tmp_path / "run").path / "run.json")
    generation = manifest.generation.model_copy(update={"max_new_tokens": 9})  # type: ignore[union-attr]
    changed = manifest.model_copy(update={"generation": generation, "options": {"engine_args": {"block": 2}}})
    assert list(differences(manifest, changed)) == [
        ("--max-new-tokens", 128, 9),
        ("engine option", None, {"engine_args": {"block": 2}}),
    ]


@pytest.mark.parametrize(
    "damage",
    [
        {"shard": {"of": 2}},
        {"shard": {"of": 2, "parts": None}},
        {"selfcheck": {"checks": {"a": 3}}},
        {"servers": [{"models": 3}]},
        {"sessions": {}},
    ],
)
def test_a_damaged_entry_is_named(tmp_path: Path, damage: dict[str, Any]) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"schema_version": 3, "tasks": {}, **damage}))
    with pytest.raises(RunError, match=rf"run\.json: cannot be read \({next(iter(damage))}"):
        read_manifest(tmp_path / "run.json")
