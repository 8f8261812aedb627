"""The main job: a run that is complete, paired, survives whatever happens to it, and never mixes two questions."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import edit, write_benchmark

import gapbench
from gapbench.commands.report import write_results
from gapbench.errors import BenchmarkError, RunError, SettingError
from gapbench.runs.thumbnails import thumbnail_key

Measure = Callable[..., gapbench.Run]


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return write_benchmark(tmp_path / "data")


def ask(**settings: Any) -> gapbench.Run:
    """Short answers, and no self-check, which has tests of its own (tests/selfcheck)."""
    return gapbench.measure(**{"max_new_tokens": 6, "batch_size": 4, "selfcheck": False, **settings})


@pytest.fixture
def measure(tiny: Callable[[str], Path], tmp_path: Path, mine: Path) -> Measure:
    def call(**changes: Any) -> gapbench.Run:
        return ask(**{"model": str(tiny("qwen3_vl")), "benchmarks": [str(mine)], "out": tmp_path / "run", **changes})

    return call


@pytest.fixture(scope="module")
def finished(tiny: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> gapbench.Run:
    folder = tmp_path_factory.mktemp("finished")
    return ask(model=str(tiny("qwen3_vl")), benchmarks=[str(write_benchmark(folder / "data"))], out=folder / "run")


@pytest.fixture
def begun(finished: gapbench.Run, tmp_path: Path) -> Path:
    """A copy of that run where `measure` would write its own: it goes on with this one."""
    return shutil.copytree(finished.path, tmp_path / "run")


def keys(run: gapbench.Run) -> Counter[Any]:
    return Counter(run.frame()[["benchmark", "sample", "view", "repeat"]].itertuples(index=False, name=None))


def test_a_run_has_one_record_per_sample_and_view(measure: Measure) -> None:
    run = measure(selfcheck=True)
    assert sorted(p.name for p in run.path.iterdir() if p.is_file()) == [
        ".lock", "records.jsonl", "report.html", "report.md", "run.json", "summary.json",
    ]  # fmt: skip
    assert keys(run) == {("mine", f"q{i}", view, 0): 1 for i in range(12) for view in ("full", "crop")}
    bench = run.summary["benchmarks"]["mine"]
    assert (bench["n"], bench["clusters"]) == (12, 6)
    assert bench["gap"]["estimate"] == pytest.approx(
        bench["views"]["crop"]["accuracy"] - bench["views"]["full"]["accuracy"]
    )
    assert gapbench.load_run(run.path).summary == run.summary
    assert "<table>" in run._repr_html_()


def test_images_are_stored_of_the_samples_that_the_report_shows_and_of_no_others(measure: Measure) -> None:
    run = measure(limit=3)
    folder = run.path / "thumbnails"
    (folder / f"{'0' * 24}-full.jpg").write_bytes(b"of a sample that has no card any more")
    measure()
    stored = {path.name.partition("-")[0] for path in folder.iterdir()}
    assert stored == {thumbnail_key("mine", f"q{i}") for i in range(12)}
    shown: list[tuple[str, str]] = []
    write_results(run.path, cards=4, illustrate=shown.extend)
    assert len(shown) == 4
    page = run.report.read_text()
    assert page.count("<article") == 4
    assert all(f'id="card-{thumbnail_key(*pair)}"' in page for pair in shown)


def test_records_hold_what_was_shown(measure: Measure) -> None:
    frame = measure(region="padded:factor=2,min_side=16").frame().set_index(["sample", "view"])
    full, crop = frame.loc[("q0", "full")], frame.loc[("q0", "crop")]
    assert full["image_size"] == (140, 100) == full["sent_size"]
    assert crop["region"] == (0.0, 51.0, 48.0, 87.0), "24 x 18 doubled about its centre, moved inside at the left"
    assert crop["sent_size"] == (48, 36)
    assert crop["region_area"] == pytest.approx(48 * 36 / 14_000)
    assert crop["evidence_area"] == pytest.approx(24 * 18 / 14_000)
    assert full["question"] == crop["question"]
    assert full["options"] == crop["options"] == ("red", "green", "blue", "yellow")
    assert full["answers"] == ("A",)
    assert full["image_hash"] == crop["image_hash"]


def test_run_json_reproduces_the_run(measure: Measure) -> None:
    manifest = measure(min_pixels=100, max_pixels=100_000).manifest
    assert {"sha256", "dtype", "generation", "seeds", "tasks", "schema_version"} <= set(manifest)
    (session,) = manifest["sessions"]
    assert {"command", "started", "versions", "hardware", "throughput"} <= set(session)
    assert manifest["pixels"]["max_pixels"] == 100_000
    bench = manifest["tasks"]["mine"]
    assert bench["views"] == {"full": {}, "crop": {"region": "padded"}}
    assert len(bench["fingerprint"]) == 32
    assert bench["prompt"].endswith("Answer with the option's letter from the given choices directly.")


def test_repeats_are_asked_and_the_noise_floor_is_shown(measure: Measure) -> None:
    run = measure(repeats=2, limit=4)
    assert len(run.frame()) == 4 * 2 * 2
    assert run.summary["benchmarks"]["mine"]["views"]["full"]["flip_rate"] == 0


def test_a_finished_run_is_not_asked_again(measure: Measure) -> None:
    first = measure()
    written = (first.path / "records.jsonl").read_bytes()
    assert measure().summary == first.summary
    assert (first.path / "records.jsonl").read_bytes() == written


def test_a_run_can_be_extended(measure: Measure) -> None:
    assert len(measure(limit=3).frame()) == 6
    longer = measure(limit=7, repeats=2)
    assert len(longer.frame()) == 28
    assert set(keys(longer).values()) == {1}


@pytest.mark.parametrize("lost", [1, 7, 23])
def test_a_run_cut_off_anywhere_goes_on_to_the_same_summary(measure: Measure, tmp_path: Path, lost: int) -> None:
    whole = measure()
    path = whole.path / "records.jsonl"
    data = path.read_bytes()
    path.write_bytes(b"".join(data.splitlines(keepends=True)[:-lost]) + b'{"benchmark": "mine", "sam')
    again = measure()
    assert again.summary == whole.summary
    assert keys(again) == keys(whole)


KILLED = """
import os, random, signal, sys, time
import torch, transformers, pandas, scipy.stats, matplotlib   # loaded once; every child is a fork
import gapbench, gapbench.commands.measure, gapbench.analysis.summary, gapbench.report
from gapbench.engines import transformers as engine
from gapbench.engines.options import Generation
from gapbench.views.pixels import Pixels

model, data, out, kills, seed = *sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5])
rng = random.Random(seed)
# for what it imports: more than half of a child's time
engine.load(model, Generation(), Pixels(), engine.TransformersOptions())

def child():
    pid = os.fork()
    if pid == 0:
        gapbench.measure(model, [data], out=out, max_new_tokens=6, batch_size=2)
        os._exit(0)
    return pid

def answered():
    path = out + "/records.jsonl"
    return open(path, "rb").read().count(b"\\n") if os.path.exists(path) else 0

died = 0
for _ in range(kills):
    # A moment of the run's own clock (so many more answers), then a few milliseconds, whatever the machine's speed.
    goal, pid = answered() + rng.randint(0, 20), child()
    while answered() < goal:
        time.sleep(0.001)
    time.sleep(0.2 * rng.random() ** 2)
    os.kill(pid, signal.SIGKILL)
    died += os.waitpid(pid, 0)[1] == signal.SIGKILL
    print("killed with", answered(), "records", flush=True)
assert os.waitpid(child(), 0)[1] == 0
print("deaths", died)
"""


@pytest.mark.evidence
def test_a_run_killed_at_100_random_moments_ends_as_if_nothing_had_happened(
    measure: Measure, tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    mine = write_benchmark(tmp_path / "long", questions=700)
    whole = measure(benchmarks=[str(mine)], out=tmp_path / "whole", batch_size=2)
    out = tmp_path / "killed"
    command = [sys.executable, "-c", KILLED, str(tiny("qwen3_vl")), str(mine), str(out), "100", "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3000, check=False)
    assert done.returncode == 0, done.stderr
    deaths = int(done.stdout.rsplit("deaths", 1)[1])
    seen = {line for line in done.stdout.splitlines() if line.startswith("killed")}
    print(done.stdout)
    assert deaths >= 95, "most runs ended before they were killed: the moments prove nothing"
    assert len(seen) >= 50, "the kills did not hit different stages of the run"
    killed = gapbench.load_run(out)
    assert keys(killed) == keys(whole)
    assert killed.summary == whole.summary


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"max_pixels": 5000}, "started with --max-pixels not set, and now it is 5000"),
        ({"max_new_tokens": 3}, "--max-new-tokens 6, and now it is 3"),
        ({"region": "union"}, "mine crop --region 'padded', and now it is 'union'"),
        ({"limit": 3}, "--limit: mine samples 12, and now it is 3"),
        ({"seed": 5}, "--seed sampling 0, and now it is 5"),
        ({"dtype": "bfloat16"}, "--dtype 'float32', and now it is 'bfloat16'"),
    ],
)
def test_a_run_refuses_to_mix_settings_and_names_the_one_that_differs(
    measure: Measure, finished: gapbench.Run, begun: Path, changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(RunError, match=named):
        measure(**changes)
    assert gapbench.load_run(begun).summary == finished.summary
    assert gapbench.load_run(measure().path).summary == finished.summary


def test_a_run_refuses_another_model(measure: Measure, begun: Path, tiny: Callable[[str], Path]) -> None:
    with pytest.raises(RunError, match=r"model|sha256"):
        measure(model=str(tiny("qwen2_vl")))


@pytest.mark.parametrize(
    "change",
    [
        {"question": "What is it?"},
        {"answer": "blue"},
        {"options": ["red", "green"]},
        {"bbox": [0, 0, 5, 5]},
        {"category": "x"},
    ],
)
def test_a_run_refuses_a_changed_question(measure: Measure, begun: Path, mine: Path, change: dict[str, Any]) -> None:
    edit(mine, 0, **change)
    with pytest.raises(RunError, match=r"mine: .*changed"):
        measure()


def test_a_run_refuses_a_changed_prompt(measure: Measure, tmp_path: Path) -> None:
    """One's own file may change between two calls; `--limit` goes on, so nothing else would notice."""
    code = tmp_path / "own.py"
    code.write_text(
        "from PIL import Image\nfrom gapbench.types import Card, Sample\n"
        "CARD = Card(name='own', title='', source='', licence='', prompt='{question} Short.')\n"
        "def samples():\n    for i in range(4):\n        yield Sample(id=str(i), image=Image.new('RGB', (60, 60)), "
        "question='What?', answers=('a',), boxes=((0, 0, 20, 20),))\n"
    )
    measure(benchmarks=[str(code)], limit=2)
    code.write_text(code.read_text().replace("Short", "Long"))
    with pytest.raises(RunError, match=r"own prompt 'What\? Short\.', and now it is 'What\? Long\.'"):
        measure(benchmarks=[str(code)])


@pytest.mark.parametrize("damage", ["", "[]", "{}", '{"benchmarks": {"mine": 3}}', '{"tasks": {}, "seeds": 3}'])
def test_a_damaged_run_json_is_named(measure: Measure, begun: Path, damage: str) -> None:
    (begun / "run.json").write_text(damage)
    with pytest.raises(RunError, match=r"run\.json: cannot be read .* restore the file, or choose another --out"):
        measure()


def test_one_bad_sample_is_recorded_as_failed_and_ends_nothing(measure: Measure, mine: Path) -> None:
    (mine.parent / "scene 1.png").write_bytes(b"not an image")
    (mine.parent / "scene 2.png").unlink()
    data = (mine.parent / "scene 3.png").read_bytes()
    (mine.parent / "scene 3.png").write_bytes(data[: len(data) // 2])
    edit(mine, 8, bbox=[500, 500, 600, 600])
    edit(mine, 10, bbox=None)
    run = measure()
    frame = run.frame().set_index(["sample", "view"])
    for sample, reason in (("q2", "cannot be decoded"), ("q4", "cannot be read"), ("q6", "cannot be decoded")):
        for view in ("full", "crop"):
            assert frame.loc[(sample, view), "outcome"] == "failed"
            assert reason in frame.loc[(sample, view), "reason"]
    assert "nothing is left inside the image" in frame.loc[("q8", "crop"), "reason"]
    assert "no evidence box" in frame.loc[("q10", "crop"), "reason"]
    assert frame.loc[("q8", "full"), "outcome"] != "failed"
    bench = run.summary["benchmarks"]["mine"]
    assert (bench["gap"]["dropped"], bench["without_evidence"]) == (7, 1)
    assert bench["gap"]["n"] == 4
    assert bench["views"]["full"]["failed"] == pytest.approx(6 / 12)


def test_a_benchmark_without_any_evidence_is_refused_for_the_crop(measure: Measure, mine: Path, tmp_path: Path) -> None:
    for line in range(12):
        edit(mine, line, bbox=None, bbox_format=None)
    with pytest.raises(BenchmarkError, match=r"none of its 12 samples has an evidence box.*--views full"):
        measure()
    with pytest.raises(BenchmarkError, match="a crop of its own"):
        measure(region="native")
    assert not (tmp_path / "run").exists()
    assert measure(views=("full",)).summary["benchmarks"]["mine"]["gap"] is None


def test_a_hold_out_without_evidence_is_asked_in_the_full_view_beside_others(
    measure: Measure, mine: Path, tmp_path: Path
) -> None:
    plain = write_benchmark(tmp_path / "other", questions=4).rename(tmp_path / "other" / "plain.jsonl")
    for line in range(4):
        edit(plain, line, bbox=None, bbox_format=None)
    run = measure(benchmarks=[str(mine), str(plain)])
    assert Counter((b, v) for b, _, v, _ in keys(run)) == {
        ("mine", "full"): 12,
        ("mine", "crop"): 12,
        ("plain", "full"): 4,
    }
    assert run.summary["benchmarks"]["plain"]["gap"] is None
    assert list(run.manifest["tasks"]["plain"]["views"]) == ["full"], "or a comparison takes it for unfinished"
    with pytest.raises(BenchmarkError, match=r"plain: none of its 4 samples.*--views full"):
        measure(benchmarks=[str(mine), str(plain)], views=("crop",), out=tmp_path / "crops")


def test_repairs_of_boxes_are_counted(measure: Measure, mine: Path) -> None:
    edit(mine, 0, bbox=[34, 78, 10, 60])
    edit(mine, 2, bbox=[100, 60, 141, 80])
    assert measure().manifest["repairs"] == {"mine: clipped": 1, "mine: swapped": 1}


def test_repairs_are_numbers_of_boxes_however_often_they_are_asked_about(measure: Measure, mine: Path) -> None:
    edit(mine, 0, bbox=[34, 78, 10, 60])
    assert measure(limit=4).manifest["repairs"] == {"mine: swapped": 1}
    more = measure(limit=4, repeats=2)
    assert more.manifest["repairs"] == {"mine: swapped": 1}
    rows = [json.loads(line) for line in (more.path / "records.jsonl").read_text().splitlines()]
    failed = [{**row, "outcome": "failed", "score": None} if row["sample"] == "q0" else row for row in rows]
    (more.path / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in failed))
    retried = measure(limit=4, repeats=2, retry_failed=True)
    assert retried.manifest["sessions"][-1]["throughput"]["answers"] == 4
    assert retried.manifest["repairs"] == {"mine: swapped": 1}


def test_a_worker_with_a_limit_projects_its_own_share_of_what_the_card_counts(measure: Measure, tmp_path: Path) -> None:
    def projected(name: str, out: str, **changes: Any) -> int:
        run = measure(benchmarks=[name], out=tmp_path / out, views=("crop",), max_new_tokens=1, max_pixels=10_000,
                      selfcheck=False, **changes)  # fmt: skip
        found: int = run.manifest["sessions"][-1]["throughput"]["projection"]["samples"]
        return found

    assert projected("signs", "a", limit=20, shard="1/4") == 250
    assert projected("signs:samples=50", "b", limit=2) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"views": ("full", "zoom")}, "--views zoom: there is no view 'zoom'. Expected one or more of full, crop"),
        ({"views": ()}, "--views"),
        ({"limit": 0}, "--limit 0"),
        ({"repeats": 0}, "--repeats 0"),
        ({"region": "circle"}, "circle.*Known are"),
        ({"min_pixels": 10, "max_pixels": 5}, "--min-pixels 10 and --max-pixels 5"),
        ({"benchmarks": []}, "no benchmark was named"),
    ],
)
def test_settings_that_make_no_sense_are_named(measure: Measure, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        measure(**changes)


def test_a_benchmark_named_twice_is_refused(measure: Measure, mine: Path) -> None:
    with pytest.raises(SettingError, match="asked for twice"):
        measure(benchmarks=[str(mine), str(mine)])


def test_an_empty_benchmark_and_ids_that_come_twice_are_refused(measure: Measure, mine: Path) -> None:
    edit(mine, 1, id="q0")
    with pytest.raises(BenchmarkError, match="line 2: id 'q0'"):
        measure()
    mine.write_text("")
    with pytest.raises(BenchmarkError, match="no samples"):
        measure()


def test_a_broken_benchmark_loses_no_finished_work(measure: Measure, mine: Path) -> None:
    written = (measure().path / "records.jsonl").read_bytes()
    text = mine.read_text()
    mine.write_text(text + "{broken\n")
    with pytest.raises(BenchmarkError, match=r"mine\.jsonl line 13: not JSON"):
        measure()
    mine.write_text(text)
    assert (measure().path / "records.jsonl").read_bytes() == written


def test_sampling_with_a_seed_is_reproducible(measure: Measure, tmp_path: Path) -> None:
    outputs = [
        measure(temperature=1.0, seed=seed, out=tmp_path / name)
        .frame()
        .sort_values(["sample", "view"])["output"]
        .tolist()
        for seed, name in ((1, "a"), (1, "b"), (2, "c"))
    ]
    assert outputs[0] == outputs[1] != outputs[2]


def test_signs_at_real_size_asks_any_model_with_lettered_options(measure: Measure) -> None:
    run = measure(benchmarks=["signs"], limit=3, max_new_tokens=2)
    frame = run.frame()
    assert set(frame["answer_type"]) == {"letter"}
    assert {tuple(size) for size in frame["image_size"]} == {(1344, 1344)}
    assert (frame["evidence_area"] < 0.01).all()
    assert run.manifest["tasks"]["signs"]["parameters"] == {}


def test_several_benchmarks_share_one_run(measure: Measure, mine: Path, tmp_path: Path) -> None:
    other = write_benchmark(tmp_path / "more", questions=4).rename(tmp_path / "more" / "other.jsonl")
    run = measure(benchmarks=[str(mine), str(other)])
    assert set(run.summary["benchmarks"]) == {"mine", "other"}
    assert run.summary["macro"]["gap"]["estimate"] == pytest.approx(
        sum(b["gap"]["estimate"] for b in run.summary["benchmarks"].values()) / 2
    )


def test_a_benchmark_with_two_sets_of_parameters_is_two_tasks(measure: Measure, tmp_path: Path) -> None:
    small = "signs:canvas=96,signs_min=3,signs_max=5,size_min=12,size_max=40"
    smaller = "signs:size_max=40,size_min=12,signs_min=3,signs_max=5,canvas=80"
    run = measure(benchmarks=[small, smaller], limit=3)
    sorted_name = "signs:canvas=80,signs_max=5,signs_min=3,size_max=40,size_min=12"
    assert set(run.summary["benchmarks"]) == {sorted_name, sorted_name.replace("=80", "=96")}
    with pytest.raises(SettingError, match="asked for twice"):
        measure(benchmarks=[small, small.replace("canvas=96,signs_min=3", "signs_min=3,canvas=96")], limit=3)


def test_another_benchmark_or_view_adds_to_a_run(measure: Measure, mine: Path, tmp_path: Path) -> None:
    other = write_benchmark(tmp_path / "more", questions=4).rename(tmp_path / "more" / "other.jsonl")
    first = measure(repeats=2)
    answers = (first.path / "records.jsonl").read_bytes()
    measure(benchmarks=[str(other)])
    run = measure(views=("boxed", "crop:factor=2"), repeats=2)
    assert (run.path / "records.jsonl").read_bytes().startswith(answers), "what was answered stays"
    assert set(run.summary["benchmarks"]) == {"mine", "other"}
    assert list(run.manifest["tasks"]["mine"]["views"]) == ["full", "crop", "boxed", "crop:factor=2"]
    assert list(run.summary["benchmarks"]["mine"]["views"]) == ["full", "crop", "boxed", "crop:factor=2"]
    assert [run.manifest["tasks"][name]["repeats"] for name in ("mine", "other")] == [2, 1]
    frame = run.frame()
    assert len(frame) == 12 * 4 * 2 + 4 * 2
    wide = frame[frame["view"] == "crop:factor=2"].set_index("sample").loc["q0"].iloc[0]
    narrow = frame[frame["view"] == "crop"].set_index("sample").loc["q0"].iloc[0]
    assert (wide["region_policy"], narrow["region_policy"]) == ("padded:factor=2", "padded")
    assert wide["region_area"] > narrow["region_area"]
    assert "unfinished" not in run.report.read_text()
    with pytest.raises(RunError, match="--max-pixels not set, and now it is 5000"):
        measure(views=("boxed",), max_pixels=5000, repeats=2)


def test_the_summary_does_not_depend_on_the_order_of_records(measure: Measure) -> None:
    from gapbench.commands.report import write_results

    run = measure()
    path = run.path / "records.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    random.Random(1).shuffle(lines)
    path.write_text("".join(lines))
    assert json.dumps(write_results(run.path).summary, sort_keys=True) == json.dumps(run.summary, sort_keys=True)


def test_groups_of_views_say_how_many_tokens_lie_on_the_evidence(measure: Measure) -> None:
    run = measure(views="standard,blind,hide,full+crop,mask:fill=white", limit=2)
    frame = run.frame().set_index("view")
    assert set(frame.index) == {"full", "crop", "blind", "hide", "full+crop", "mask:fill=white"}
    assert (frame["outcome"] != "failed").all()
    for row in frame.itertuples():
        x0, y0, x1, y1 = row.boxes[0]
        on_full = (x1 - x0) * (y1 - y0) / (row.image_size[0] * row.image_size[1])
        assert 0 <= row.evidence_tokens <= row.image_tokens
        if row.Index in ("full", "mask:fill=white"):
            assert row.evidence_tokens == pytest.approx(on_full * row.image_tokens, abs=1e-3)
        assert (row.evidence_tokens == 0) == (row.Index in ("blind", "hide"))
    both = sum(frame.loc[view, "evidence_tokens"].to_numpy() for view in ("full", "crop"))
    assert frame.loc["full+crop", "evidence_tokens"].to_numpy() == pytest.approx(both, abs=2e-3)


def test_records_from_before_have_no_tokens_on_the_evidence(measure: Measure) -> None:
    run = measure(limit=1)
    path = run.path / "records.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps({k: v for k, v in r.items() if k != "evidence_tokens"}) + "\n" for r in rows))
    assert gapbench.load_run(run.path).frame()["evidence_tokens"].isna().all()
    assert measure(limit=2).summary["benchmarks"]["mine"]["n"] == 2
