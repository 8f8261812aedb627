"""What a continued run may change, what it keeps of earlier sessions, and what is refused with its name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from engines.stub_server import Asked, Response, Stub, chat
from helpers import write_benchmark

import gapbench
from gapbench.engines.chat import given_template
from gapbench.errors import RunError
from gapbench.runs.manifest import differences, worst_check
from gapbench.runs.run import read_json


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return write_benchmark(tmp_path / "data")


def serving(root: str) -> Stub:
    """A server that says what the model it calls `stub` is."""

    def reply(asked: Asked, number: int) -> Response:
        return chat("yes")

    listed = {"data": [{"id": "stub", "root": root}]}
    return Stub(reply, models=Response(body=json.dumps(listed).encode()))


def measure(url: str, mine: Path, out: Path, **changes: Any) -> gapbench.Run:
    settings: dict[str, Any] = {"engine": "server", "base_urls": [url], "selfcheck": False, **changes}
    return gapbench.measure("stub", [str(mine)], out=out, **settings)


def test_a_server_whose_model_became_another_one_under_the_same_name_is_doubted(mine: Path, tmp_path: Path) -> None:
    with serving("org/small") as one, serving("org/large") as other:
        measure(one.url, mine, tmp_path / "run", limit=4)
        with pytest.warns(UserWarning, match=r"stub is org/small for some of the answers and org/large for others"):
            run = measure(other.url, mine, tmp_path / "run")
        said = [session["servers"][0]["models"][0]["root"] for session in run.manifest["sessions"]]
        assert said == ["org/small", "org/large"]
        assert [session["base_urls"] for session in run.manifest["sessions"]] == [[one.url], [other.url]]


def test_shards_of_two_models_under_one_name_are_doubted(mine: Path, tmp_path: Path) -> None:
    with serving("org/small") as one, serving("org/large") as other:
        measure(one.url, mine, tmp_path / "1", shard="1/2")
        measure(other.url, mine, tmp_path / "2", shard="2/2")
    with pytest.warns(UserWarning, match=r"org/small for some of the answers and org/large"):
        merged = gapbench.merge([tmp_path / "1", tmp_path / "2"], tmp_path / "whole")
    assert len(merged.manifest["sessions"]) == 2
    assert all(session["servers"] for session in merged.manifest["sessions"])


def test_a_self_check_that_failed_for_a_part_of_the_answers_is_kept() -> None:
    passed = {"checks": {"a": {"outcome": "passed"}, "b": {"outcome": "not applicable"}}}
    failed = {"checks": {"a": {"outcome": "failed"}, "b": {"outcome": "passed"}}}
    assert worst_check([passed, failed]) is worst_check([failed, passed]) is failed


def test_fewer_repeats_than_there_are_answers_for_are_refused(mine: Path, tmp_path: Path) -> None:
    with serving("org/small") as one:
        measure(one.url, mine, tmp_path / "run", repeats=2)
        with pytest.raises(RunError, match="started with --repeats '2', and now it is '1'"):
            measure(one.url, mine, tmp_path / "run")
        assert measure(one.url, mine, tmp_path / "run", repeats=3).manifest["repeats"] == 3


def test_a_chat_template_is_known_by_its_text(tmp_path: Path) -> None:
    one, other, again = (tmp_path / name for name in ("one.jinja", "other.jinja", "again.jinja"))
    for file, text in ((one, "a"), (other, "b"), (again, "a")):
        file.write_text(text)
    assert given_template(one) == given_template(again)
    assert len({given_template(one), given_template(other), given_template(None)}) == 3


def test_a_difference_inside_a_setting_is_named(mine: Path, tmp_path: Path) -> None:
    with serving("org/small") as one:
        asked = read_json(measure(one.url, mine, tmp_path / "run").path / "run.json")
    changed = {**asked, "generation": {**asked["generation"], "max_new_tokens": 9}}
    assert list(differences(asked, changed)) == [("generation max_new_tokens", 128, 9)]
