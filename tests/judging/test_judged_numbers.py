"""What verdicts do to numbers and reports, that they can be left out again, and that judges are never mixed."""

from __future__ import annotations

import html
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engines.stub_server import Stub, chat, error

import gapbench
from gapbench.commands.judge import judge_run
from gapbench.commands.report import load_run, write_results
from gapbench.errors import RunError
from gapbench.report.run.overview import alerts
from gapbench.runs import judgements
from gapbench.runs.manifest import differences, fingerprint_of, read_manifest
from gapbench.runs.run import read_json

from .conftest import READ, by_word, judge_at, judging

MakeRun = Callable[..., Path]
GIVEN = ("Perhaps green.", "red, I'd say", "Perhaps.", READ, {**READ, "outcome": "wrong", "score": 0.0})


def judged(run: Path, **changes: Any) -> Path:
    with Stub(judging(by_word)) as stub:
        judge_run(run, judge_at(stub.url, **changes))
    write_results(run)
    return run


def pages(run: Path) -> str:
    return "".join((run / name).read_text() for name in ("summary.json", "report.html", "report.md"))


# --- numbers ---------------------------------------------------------------------------------------------------


def test_right_and_wrong_by_the_judge_count_as_by_rules(make_run: MakeRun) -> None:
    summary = load_run(judged(make_run(*GIVEN))).summary
    view = summary["benchmarks"]["signs"]["views"]["full"]
    assert view["accuracy"] == 2 / 5
    assert (view["unparsed"], view["judge_failed"], view["judged"]) == (1 / 5, 0, 2 / 5)
    assert summary["judge"]["verdicts"] == {"yes": 2, "no": 2, "cannot tell": 2, "failed": 0, "waiting": 0}
    assert summary["judge"].items() >= {"model": "stub", "served_as": "stub", "temperature": 0.0}.items()


def test_without_the_judge_all_is_as_if_there_had_been_none(make_run: MakeRun) -> None:
    plain, run = make_run(*GIVEN, name="plain"), judged(make_run(*GIVEN, name="judged"))
    write_results(plain)
    with_judge = pages(run)
    assert with_judge != pages(plain)

    assert not write_results(run, judged=False).judged
    assert pages(run) == pages(plain)
    assert list(load_run(run).frame()["outcome"]) == list(load_run(plain).frame()["outcome"])

    write_results(run)
    assert pages(run) == with_judge


def test_a_run_that_was_not_judged_to_its_end_says_so(make_run: MakeRun) -> None:
    run = judged(make_run(*GIVEN))
    kept = (run / judgements.FILE).read_text().splitlines(keepends=True)[:2]
    (run / judgements.FILE).write_text("".join(kept))
    done = write_results(run)
    assert done.summary["judge"]["verdicts"]["waiting"] == 4
    assert any(text.startswith("4 answers wait for the judge") for _, text in alerts(done.summary, done.manifest))


def test_a_run_in_which_the_judge_failed_says_so(make_run: MakeRun) -> None:
    run = make_run("green", "red")
    with Stub(judging(lambda answer: error(500, "no") if answer == "green" else "no")) as stub:
        judge_run(run, judge_at(stub.url))
    done = write_results(run)
    found = [text for _, text in alerts(done.summary, done.manifest)]
    assert any(text.startswith("2 answers have no verdict because the judge failed") for text in found)
    assert "failed 50.0% / 50.0%" in done.report.read_text()


# --- reports ---------------------------------------------------------------------------------------------------


def test_the_report_shows_which_verdicts_came_from_the_judge(make_run: MakeRun) -> None:
    page = (judged(make_run(*GIVEN)) / "report.html").read_text()
    assert "No rule could read 6 answers, so the judge stub was asked: 2 right, 2 wrong, 2 cannot tell." in page
    assert page.count("right, says the judge</strong>") == page.count("wrong, says the judge</strong>") == 2
    assert page.count("the judge stub said yes") == page.count("the judge stub said no") == 2
    assert page.count("the judge stub cannot tell;") == 2
    assert "no rule decided (no-letter: no letter of an option in the answer)" in html.unescape(page)


def test_what_a_judge_says_stays_text(make_run: MakeRun) -> None:
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)> \"'>{{ 7*7 }} |x| [a](javascript:b)"

    def reply(request: Any, number: int) -> Any:
        response = judging(lambda answer: chat(evil))(request, number)
        value = {**json.loads(response.body), "model": f"m{evil}"}
        return type(response)(body=json.dumps(value).encode())

    run = make_run("green")
    with Stub(reply) as stub:
        judge_run(run, judge_at(stub.url, model=f"n{evil}"))
    write_results(run)
    page, markdown = ((run / name).read_text() for name in ("report.html", "report.md"))
    assert "7*7" in markdown
    for text in (page, re.sub(r"(`+).*?\1", "", markdown)):
        assert "<script>alert" not in text
        assert "<img src=x" not in text
    assert "&lt;img src=x onerror=alert(2)&gt;" in page


# --- identity --------------------------------------------------------------------------------------------------


def test_who_judges_changes_the_fingerprint_of_a_run(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(*GIVEN)
    prints = [fingerprint_of(read_manifest(run / "run.json"))]
    for number, model in enumerate(("stub", "other", "stub")):
        copy = shutil.copytree(run, run.with_name(f"copy{number}"))
        judged(copy, model=model)
        entry = read_manifest(copy / "run.json")
        assert entry.fingerprint == fingerprint_of(entry)
        prints.append(entry.fingerprint)

    assert len(set(prints)) == 3
    assert prints[1] == prints[3]
    for name in ("model", "served_as", "prompt_sha256", "temperature"):
        assert entry.judge
        changed = entry.model_copy(update={"judge": {**entry.judge, name: "x"}})
        assert fingerprint_of(changed) != prints[3], name
        assert [difference.words for difference in differences(entry, changed)] == [f"judge {name}"]


def test_runs_with_different_judges_are_compared_with_an_alert(make_run: MakeRun, tmp_path: Path) -> None:
    one, two = make_run(*GIVEN, name="one"), make_run(*GIVEN, name="two")
    judged(one)
    judged(two, model="other")
    done = gapbench.compare(one, two, out=tmp_path / "comparison", labels=("one", "two"))
    (alert,) = [a["text"] for a in done.summary["alerts"] if "judge" in a["text"]]
    assert alert.startswith("The setting judge differs: stub (served as stub), prompt ")
    assert "other (served as stub), prompt " in alert


def test_runs_with_the_same_judge_are_compared_without(make_run: MakeRun, tmp_path: Path) -> None:
    one, two = (judged(make_run(*GIVEN, name=name)) for name in ("one", "two"))
    done = gapbench.compare(one, two, out=tmp_path / "comparison", labels=("one", "two"))
    assert not [a for a in done.summary["alerts"] if "judge" in a["text"]]
    entry = done.summary["benchmarks"]["signs"]
    assert entry["before"]["full"]["estimate"] == entry["after"]["full"]["estimate"] == 2 / 5


def test_reports_without_the_judge_are_compared_without_it(make_run: MakeRun, tmp_path: Path) -> None:
    one, two = make_run(*GIVEN, name="one"), judged(make_run(*GIVEN, name="two"))
    write_results(one)
    write_results(two, judged=False)
    done = gapbench.compare(one, two, out=tmp_path / "comparison", labels=("one", "two"))
    assert done.summary["benchmarks"]["signs"]["after"]["full"]["estimate"] == 1 / 5
    assert not [a for a in done.summary["alerts"] if "judge" in a["text"]]


# --- shards ----------------------------------------------------------------------------------------------------


def shards(make_run: MakeRun, given: tuple[Any, ...]) -> tuple[Path, list[Path]]:
    """A run, and the same records in two shards."""
    entry = {"region": "padded", "prompt": "?", "samples": len(given), "fingerprint": "0" * 32, "parameters": {},
             "views": {"full": {}, "crop": {}}}  # fmt: skip
    whole, parts = make_run(*given, name="whole", tasks={"signs": entry}), []
    rows = (whole / "records.jsonl").read_text().splitlines(keepends=True)
    for number in (1, 2):
        mine = [row for row in rows if int(json.loads(row)["sample"]) % 2 == number % 2]
        each = {"signs": {"samples": len(mine) // 2, "answers": len(mine)}}
        part = make_run(name=str(number), tasks={"signs": entry},
                        shard={"of": 2, "parts": {str(number): each}})  # fmt: skip
        (part / "records.jsonl").write_text("".join(mine))
        parts.append(part)
    return whole, parts


def test_judged_shards_merge_to_the_very_summary_of_the_judged_run(make_run: MakeRun, tmp_path: Path) -> None:
    whole, parts = shards(make_run, (*GIVEN, "green 2", "Perhaps green.", "Perhaps green."))
    judged(whole)
    for part in parts:
        judged(part)
    merged = gapbench.merge(parts, tmp_path / "merged")
    assert (merged.path / "summary.json").read_bytes() == (whole / "summary.json").read_bytes()
    assert judgements.read(merged.path).keys() == judgements.read(whole).keys()
    assert merged.manifest["judge"] == read_json(whole / "run.json")["judge"]
    again = gapbench.merge(parts[::-1], tmp_path / "merged")
    assert again.summary == merged.summary


def test_shards_that_still_wait_for_their_judge_are_merged_only_in_part(make_run: MakeRun, tmp_path: Path) -> None:
    _, parts = shards(make_run, GIVEN)
    for part in parts:
        judged(part)
    (parts[1] / judgements.FILE).unlink()
    with pytest.raises(RunError, match="answers still wait for the judge's verdict"):
        gapbench.merge(parts, tmp_path / "merged")
    merged = gapbench.merge(parts, tmp_path / "merged", partial=True)
    assert merged.summary["judge"]["verdicts"]["waiting"] == 4


def test_shards_with_different_judges_are_not_mixed(make_run: MakeRun, tmp_path: Path) -> None:
    _, parts = shards(make_run, GIVEN)
    judged(parts[0])
    judged(parts[1], model="other")
    with pytest.raises(RunError, match="merge: judge model is"):
        gapbench.merge(parts, tmp_path / "merged")


def test_a_merge_does_not_throw_verdicts_away(make_run: MakeRun, tmp_path: Path) -> None:
    _, parts = shards(make_run, GIVEN)
    merged = judged(gapbench.merge(parts, tmp_path / "merged").path)
    with pytest.raises(RunError, match="it has 6 verdicts of a judge"):
        gapbench.merge(parts, tmp_path / "merged")
    assert (merged / judgements.FILE).exists()
