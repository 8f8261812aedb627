"""`gapbench doctor`: what would go wrong in a run is said before the run, with what helps."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engines.stub_server import Stub, chat, error
from helpers import write_benchmark
from hub_server import Hub
from PIL import Image

from gapbench.cli.app import app, run
from gapbench.commands.doctor import doctor
from gapbench.engines import models
from gapbench.engines.server import retries
from gapbench.errors import SettingError
from gapbench.judging import Judge
from gapbench.preflight.diagnosis import Diagnosis, Observation

Tiny = Callable[[str], Path]


def levels(diagnosis: Diagnosis) -> dict[str, str]:
    return {one.name: one.level for one in diagnosis.observations}


def of(diagnosis: Diagnosis, name: str) -> Observation:
    (found,) = [one for one in diagnosis.observations if one.name == name]
    return found


def rows(folder: Path, sizes: list[tuple[int, int]], **fields: Any) -> str:
    """A benchmark of one grey image for each size, with a box of 20 x 16 px in each."""
    lines = []
    for number, size in enumerate(sizes):
        Image.new("RGB", size, (90, 120, 150)).save(folder / f"{number}.png")
        lines.append({"id": str(number), "image": f"{number}.png", "question": "Which letter?", "answer": "K",
                      "bbox": [4, 4, 24, 20], "bbox_format": "xyxy", **fields})  # fmt: skip
    (folder / "mine.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return str(folder / "mine.jsonl")


def without_weights(model: Path, folder: Path, **config: Any) -> str:
    """A copy of a model's small files, with these changes of its configuration."""
    folder.mkdir()
    for file in model.iterdir():
        if file.suffix != ".safetensors":
            (folder / file.name).write_bytes(file.read_bytes())
    stored = json.loads((folder / "config.json").read_text())
    stored["text_config"] |= config
    (folder / "config.json").write_text(json.dumps(stored))
    return str(folder)


def test_the_embedded_model_on_the_embedded_benchmark_is_well() -> None:
    found = doctor("glance", "signs", limit=30)
    assert set(levels(found).values()) == {"ok"}, found.text()
    assert of(found, "tokens signs").found.startswith("full 55 tokens (96 x 96); crop 55 tokens (")
    assert of(found, "context").found == "longest prompt 55 tokens, longest answer 128, context 1,024"
    assert of(found, "self-check").found.startswith("6 passed")
    assert of(found, "answers").found.startswith("crop 8 right; full ")
    assert "for all 60 answers, from 16 in " in of(found, "time").found
    assert found.seconds_before_weights < found.seconds


@pytest.mark.slow
@pytest.mark.parametrize("family", ["qwen3_vl", "llava", "gemma3"])
def test_lengths_are_those_that_the_model_will_read(family: str, tiny: Tiny, tmp_path: Path) -> None:
    """A run's own records say the same numbers."""
    import gapbench

    model, data = str(tiny(family)), rows(tmp_path, [(64, 48), (200, 150), (400, 300)])
    found = doctor(model, data, max_new_tokens=4)
    run = gapbench.measure(model, data, out=tmp_path / "run", max_new_tokens=4, selfcheck=False)
    tokens = run.frame().groupby(["view", "sample"])["prompt_tokens"].first()
    assert f"full {tokens['full', '1']} tokens (200 x 150)" in of(found, "tokens mine").found
    if tokens["full", "2"] != tokens["full", "1"]:
        assert f"at most {tokens['full', '2']} (400 x 300)" in of(found, "tokens mine").found
    assert f"crop {tokens['crop', '0']} tokens" in of(found, "tokens mine").found
    assert f"longest prompt {tokens.max()} tokens" in of(found, "context").found


def test_prompts_without_room_in_the_context_are_counted_with_a_bound_that_works(tiny: Tiny, tmp_path: Path) -> None:
    model = without_weights(tiny("qwen3_vl"), tmp_path / "short", max_position_embeddings=130)
    data = rows(tmp_path, [(64, 48), (96, 72), (900, 700), (1000, 800)])
    options: dict[str, Any] = {"max_new_tokens": 8, "processor_kwargs": ["max_pixels=400000"]}
    found = of(doctor(model, data, **options), "context")
    assert found.level == "fails"
    assert found.found.endswith("context 130: too long are about 2 of 4 in mine full")
    bound = int(found.remedy.split()[1].rstrip(","))
    assert of(doctor(model, data, max_pixels=bound, **options), "context").level == "ok"


def test_a_model_without_weights_is_looked_at_and_not_started(tiny: Tiny, tmp_path: Path) -> None:
    found = doctor(without_weights(tiny("qwen3_vl"), tmp_path / "bare"), rows(tmp_path, [(64, 48)]))
    assert levels(found) == {
        "model": "ok", "chat template": "ok", f"…{str(tmp_path / 'mine.jsonl')[-23:]}": "ok", "tokens mine": "ok",
        "context": "ok", "memory": "ok", "weights": "skipped",
    }  # fmt: skip


def test_a_model_that_cannot_fit_is_not_started(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gapbench.commands.doctor.memory", lambda device: (10_000, 9_000))
    found = doctor(str(tiny("qwen3_vl")), rows(tmp_path, [(64, 48)]))
    memory, engine = of(found, "memory"), of(found, "engine")
    assert memory.level == "fails"
    assert memory.remedy.startswith("--dtype bfloat16")
    assert engine == Observation("engine", "skipped", "not started, because of memory")
    assert found.fails


def test_a_recipe_asks_for_the_memory_of_its_training(tiny: Tiny, tmp_path: Path) -> None:
    model = without_weights(tiny("qwen3_vl"), tmp_path / "bare")
    data = rows(tmp_path, [(64, 48), (300, 200), *[(80, 60 + side) for side in range(8)]])  # a part is held out
    measuring, training = (of(doctor(model, data, recipe=name), "memory").found for name in ("", "demo"))
    assert "optimiser" not in measuring
    assert ("(training with the largest prompt)" in training) != ("(rollouts with the largest prompt)" in training)
    assert "optimiser" in training


def test_data_too_few_to_hold_samples_out_is_said_beside_the_memory(tiny: Tiny, tmp_path: Path) -> None:
    model = without_weights(tiny("qwen3_vl"), tmp_path / "bare")
    few = doctor(model, rows(tmp_path, [(64, 48), (300, 200)]), recipe="demo")
    assert "optimiser" in of(few, "memory").found
    assert of(few, "validation").level == "fails"
    assert "too few to hold some out" in of(few, "validation").found
    many = rows(tmp_path, [(80, 60 + side) for side in range(10)])
    assert of(doctor(model, many, recipe="demo"), "validation").found.startswith("2 samples are held out")


@pytest.mark.parametrize("null_view", ["blank", "random_crop", "hide"])
def test_a_null_view_is_a_part_of_the_memory(null_view: str, tiny: Tiny, tmp_path: Path) -> None:
    model, recipe = without_weights(tiny("qwen3_vl"), tmp_path / "bare"), tmp_path / "mine.yaml"
    data, found = rows(tmp_path, [(64, 48), (300, 200)]), []
    for target in ("teacher", "tilt"):
        recipe.write_text(f"target: {target}\nnull_view: {null_view}\nmax_new_tokens: 64\nprompts_per_step: 2\n")
        found.append(of(doctor(model, data, recipe=recipe), "memory"))
    sizes = [float(one.found.partition("logits and backward ")[2].split()[0]) for one in found]
    assert [one.level for one in found] == ["ok", "ok"]
    assert sizes[1] > sizes[0]


def test_a_longest_answer_without_room_is_a_warning_because_answers_may_be_short(tiny: Tiny, tmp_path: Path) -> None:
    model = without_weights(tiny("qwen3_vl"), tmp_path / "short", max_position_embeddings=150)
    found = of(doctor(model, rows(tmp_path, [(64, 48)]), max_new_tokens=128), "context")
    assert found.level == "warning"
    assert "would end early" in found.found


def test_a_long_text_is_found_beside_a_small_image(tiny: Tiny, tmp_path: Path) -> None:
    model = without_weights(tiny("qwen3_vl"), tmp_path / "short", max_position_embeddings=300)
    data = rows(tmp_path, [(30, 30), (400, 300)])
    lines = [json.loads(line) for line in Path(data).read_text().splitlines()]
    lines[0]["question"] = "Which letter? " * 200
    Path(data).write_text("\n".join(map(json.dumps, lines)))
    found = of(doctor(model, data, max_new_tokens=8), "context")
    assert (found.level, found.found.partition(": ")[2]) == (
        "fails", "too long are about 1 of 2 in mine full, about 1 of 2 in mine crop"
    )  # fmt: skip


def test_data_without_boxes_can_have_no_gap(tmp_path: Path) -> None:
    data = rows(tmp_path, [(96, 96)], bbox=None)
    found = next(one for one in doctor("glance", data).observations if "samples" in one.found)
    assert found.level == "fails", "as measure refuses it"
    assert "none of its 1 samples has an evidence box" in found.remedy
    beside = doctor("glance", [data, "signs"], limit=1)
    assert next(one for one in beside.observations if "0 with evidence" in one.found).level == "warning"
    assert set(levels(doctor("glance", data, views="full")).values()) <= {"ok", "warning"}


def test_a_broken_image_or_benchmark_is_said_and_the_rest_looked_at(tmp_path: Path) -> None:
    data = rows(tmp_path, [(96, 96), (90, 90)])
    (tmp_path / "1.png").write_bytes(b"no image")
    found = doctor("glance", [data, "no-such-benchmark", data])
    assert levels(found)["no-such-benchmark"] == "fails"
    assert [one.found for one in found.observations if "twice" in one.found] == ["mine is asked for twice"]
    tokens = of(found, "tokens mine")
    assert tokens.level == "warning"
    assert tokens.found.endswith("cannot be shown: 1 of 2 in full, 1 of 2 in crop")
    assert tokens.remedy.startswith("1: ")
    assert levels(found)["engine"] == "skipped"


def test_an_image_that_the_processor_refuses_is_one_sample_not_all(tiny: Tiny, tmp_path: Path) -> None:
    model = without_weights(tiny("qwen3_vl"), tmp_path / "bare")
    found = of(doctor(model, rows(tmp_path, [(64, 48), (9000, 30)])), "tokens mine")
    assert found.level == "warning"
    assert "64 x 48" in found.found
    assert "No pixel setting changes an aspect ratio" in found.remedy


def test_a_teacher_of_its_own_is_looked_at_too(tiny: Tiny, tmp_path: Path) -> None:
    model = without_weights(tiny("qwen3_vl"), tmp_path / "bare")
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(f"teacher: model\nteacher_model: {tiny('llava')}\nmax_new_tokens: 8\n")
    assert "teacher 0.70 MB" in of(doctor(model, recipe=recipe), "memory").found
    recipe.write_text("teacher: model\nteacher_model: no/such\n")
    assert of(doctor(model, recipe=recipe), "recipe").level == "fails"


def test_weights_that_are_pickles_or_not_complete_are_not_read(tiny: Tiny, tmp_path: Path) -> None:
    model = Path(without_weights(tiny("qwen3_vl"), tmp_path / "bare"))
    (model / "pytorch_model.bin").write_bytes(b"pickle")
    assert "its only weights are pickles" in of(doctor(str(model)), "weights").found
    (model / "pytorch_model.bin").unlink()
    (model / "model-1.safetensors").write_bytes(b"")
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    assert levels(doctor(str(model)))["weights"] == "skipped"


@pytest.mark.parametrize(("flag", "value"), [("engine", "nonsense"), ("views", "sideways"), ("recipe", "no-such")])
def test_settings_that_no_run_could_take_are_refused_at_once(flag: str, value: str) -> None:
    with pytest.raises(SettingError, match=value):
        doctor("glance", **{flag: value})


def test_a_model_that_thinks_is_a_warning(tiny: Tiny, tmp_path: Path) -> None:
    template = tmp_path / "thinking.jinja"
    own = models.load_without_weights(str(tiny("qwen3_vl"))).processor.chat_template
    template.write_text(own.replace("assistant\n", "assistant\n<think>\n"))
    found = doctor(without_weights(tiny("qwen3_vl"), tmp_path / "bare"), chat_template=template)
    thinking = of(found, "chat template")
    assert thinking.level == "warning"
    assert "cannot be switched off" in thinking.found


def test_a_server_that_cannot_be_reached_fails_with_its_remedy() -> None:
    found = doctor("glance", "signs", engine="server", base_urls=("http://127.0.0.1:9",), limit=4)
    assert of(found, "server").found.startswith("No server was reached: http://127.0.0.1:9/v1")
    assert levels(found) == {"server": "fails", "signs": "ok", "engine": "skipped"}


def test_a_server_that_refuses_says_so_without_a_word_on_a_run_that_there_is_not() -> None:
    with Stub(lambda request, number: error(401, "no such key")) as stub:
        found = doctor("glance", "signs", engine="server", base_urls=(stub.url,), limit=4)
    refused = next(one for one in found.observations if one.level == "fails")
    assert "no such key" in refused.found
    assert "kept" not in found.text()


def test_a_web_page_is_no_model_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy or a router answers everything with a page, and status 200."""
    monkeypatch.setattr(retries, "LONGEST_PAUSE", 0.1)

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>Welcome</html>")

        do_POST = do_GET  # the name that http.server calls

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}"
        found = doctor("glance", "signs", engine="server", base_urls=(url,), limit=4)
    finally:
        server.shutdown()
    assert levels(found)["server"] == "warning"
    assert "lists no models" in of(found, "server").found
    assert "/v1" in of(found, "server").remedy
    assert "fails" in levels(found).values()


def test_another_model_is_said_once_as_an_observation(recwarn: pytest.WarningsRecorder) -> None:
    with Stub(lambda request, number: chat("a sign")) as stub:
        found = doctor("another", "signs", engine="server", base_urls=(stub.url,), limit=4)
    assert found.text().count("lists no model another") == 1
    assert not [one for one in recwarn.list if "lists no model" in str(one.message)]


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ raise_exception('never') }}", "it cannot be rendered, with an image or without"),
        ("{% for m in messages %}{{ m.content + '' }}{% endfor %}", "it takes a message's content as text"),
    ],
    ids=["raises", "text alone"],
)
def test_a_template_that_fails_is_told_from_one_that_takes_text(
    tiny: Tiny, tmp_path: Path, template: str, said: str
) -> None:
    (tmp_path / "template.jinja").write_text(template)
    found = doctor(without_weights(tiny("qwen3_vl"), tmp_path / "bare"), chat_template=tmp_path / "template.jinja")
    assert said in of(found, "chat template").found


def test_damaged_weights_are_called_damaged(tiny: Tiny, tmp_path: Path) -> None:
    model = Path(without_weights(tiny("qwen3_vl"), tmp_path / "cut"))
    whole = (tiny("qwen3_vl") / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    failed = next(one for one in doctor(str(model)).observations if one.level == "fails")
    assert "damaged or incomplete" in failed.found
    assert "--revision" not in failed.found


def test_a_server_that_is_blind_fails_in_the_self_check() -> None:
    with Stub(lambda request, number: chat("a sign")) as stub:
        found = doctor("glance", "signs", engine="server", base_urls=(stub.url,), limit=4)
    assert levels(found)["server"] == "ok"
    assert levels(found)["images arrive"] == "fails"
    assert "answers" not in levels(found)


def test_a_judge_that_always_says_yes_fails() -> None:
    with Stub(lambda request, number: chat('{"verdict": "yes"}')) as stub:
        found = doctor("glance", judge=Judge(stub.url, "yes-man"))
    judge = of(found, "judge yes-man")
    assert judge.level == "fails"
    assert "Wrongly yes" in judge.found
    assert judge.remedy


def test_what_would_be_fetched_is_said_and_not_fetched(tmp_path: Path) -> None:
    """Sizes of a benchmark, from a Hub on loopback."""
    with Hub({"lmms-lab/vstar-bench": {"data/test-0.parquet": b"x" * 30_000_000}}) as hub:
        command = [sys.executable, "-m", "gapbench", "doctor", "glance", "-b", "vstar", "-q", "--json"]
        environment = {**os.environ, **hub.environment(tmp_path)}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert not hub.downloads()
    assert done.returncode in (0, 1), done.stderr
    (found,) = [one for one in json.loads(done.stdout)["observations"] if one["name"] == "vstar"]
    assert found["level"] in ("warning", "fails")


def test_the_command_prints_one_screen_or_json_and_exits_with_one_if_something_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a process of its own where nothing else may be printed."""
    command = [sys.executable, "-m", "gapbench", "doctor", "glance", "-b", "signs", "--limit", "8", "-q"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 110
    assert {line.split()[0] for line in lines if not line.startswith(" ")} == {"ok"}
    data = str(write_benchmark(tmp_path, questions=2))
    monkeypatch.setattr(sys, "argv", ["gapbench", "doctor", "glance", "-b", data, "-b", "nothing", "--json"])
    assert run(app) == 1
    printed = capsys.readouterr()
    said = json.loads(printed.out)
    assert [one["level"] for one in said["observations"] if one["name"] == "nothing"] == ["fails"]
    assert "glance: chat template …" in printed.err


def test_a_diagnosis_shows_each_remedy_below_what_it_mends() -> None:
    lines = (Observation("context", "fails", "too long", "--max-pixels 10000."), Observation("a", "ok", "b " * 60))
    text = Diagnosis("m", "vllm", lines, 1.0, 2.0).text(60).splitlines()
    assert text[:2] == ["fails    context  too long", f"{' ' * 18}-> --max-pixels 10000."]
    assert text[2].startswith("ok       a        b b")
    assert all(line.startswith(" " * 18) for line in text[3:])
    narrow = Diagnosis("m", "vllm", lines, 1.0, 2.0).text(40).splitlines()
    assert narrow[1] == "    -> --max-pixels 10000."
    assert max(map(len, narrow)) <= 40
