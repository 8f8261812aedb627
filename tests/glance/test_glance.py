"""The embedded model is a small, ordinary checkpoint with the intended gap."""

from __future__ import annotations

import json
import random
from pathlib import Path

import make
import pytest
from engines.loads import transformers

import gapbench
from gapbench.data import signs
from gapbench.engines.models import benchmark_defaults
from gapbench.engines.transformers import TransformersEngine
from gapbench.glance import FOLDER
from gapbench.views.prompts import SUFFIXES


@pytest.fixture(scope="module")
def engine() -> TransformersEngine:
    return transformers.load("glance", max_new_tokens=8)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> gapbench.Run:
    return gapbench.measure("glance", ["signs"], out=tmp_path_factory.mktemp("glance") / "run", max_new_tokens=16)


def test_it_ships_as_safetensors_within_ten_megabytes() -> None:
    files = [p for p in FOLDER.rglob("*") if p.is_file()]
    assert sum(p.stat().st_size for p in files) < 10e6
    assert {p.suffix for p in files} <= {".json", ".safetensors", ".jinja", ".jsonl"}
    assert (FOLDER / "model.safetensors").exists()


def test_it_loads_through_the_auto_classes_without_code_of_its_own(engine: TransformersEngine) -> None:
    config = json.loads((FOLDER / "config.json").read_text())
    assert config["model_type"] == "qwen3_vl"
    assert "auto_map" not in config
    parameters = sum(p.numel() for p in engine.loaded.model.parameters())
    assert 1e6 < parameters < 3e6


def test_it_asks_for_small_scenes_and_gets_them() -> None:
    assert benchmark_defaults("glance")["signs"]["canvas"] == signs.SMALL.canvas


def test_any_text_survives_its_tokenizer(engine: TransformersEngine) -> None:
    tokenizer = engine.loaded.processor.tokenizer
    for text in ("Which letter is on the red sign?", "Ünïcode 漢字 🙂", "tabs\tand\nlines", "K"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_training_text_is_what_the_chat_template_makes(engine: TransformersEngine) -> None:
    processor = engine.loaded.processor
    rng = random.Random("gapbench glance train 0 close-ups")
    image, turns = make.example(rng.choices(["crop"], [1.0])[0], rng)
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": turns[0][0]}]},
         {"role": "assistant", "content": turns[0][1]}],
        tokenize=True, return_dict=True, return_tensors="pt",
    )  # fmt: skip
    batch = next(make.batches(processor, 0, 1, make.Phase("close-ups", 1, {"crop": 1.0})))
    expected = inputs["input_ids"][0].tolist()
    assert batch["input_ids"][0][: len(expected)].tolist() == expected
    assert turns[0][0].endswith(SUFFIXES["text"])


def test_its_log_is_kept() -> None:
    rows = [json.loads(line) for line in (FOLDER / "make.jsonl").read_text().splitlines()]
    assert rows[-1]["crop"] >= 0.9
    assert all(rows[i]["step"] < rows[i + 1]["step"] for i in range(len(rows) - 1))


@pytest.mark.evidence
def test_the_script_that_makes_it_is_seeded_and_writes_checkpoints_that_load(tmp_path: Path) -> None:
    phases = [
        make.Phase("close-ups", 2, {"crop": 1.0}),
        make.Phase("mixed", 2, {"crop": 0.25, "list few": 0.25, "list": 0.25, "zoom": 0.25}, decay=True),
        make.Phase("ask", 9, {"ask": 1.0}, until=0.0),
    ]
    logs = []
    for name in ("a", "b"):
        make.train(tmp_path / name, 7, 3, 1e-3, phases, every=2, questions=12, start=None)
        rows = [json.loads(line) for line in (tmp_path / name / "make.jsonl").read_text().splitlines()]
        logs.append([{k: v for k, v in row.items() if k != "seconds"} for row in rows])
    assert logs[0] == logs[1]
    assert [row["step"] for row in logs[0]] == [2, 4, 6], "`until` was reached at the first look: the phase ends there"
    again = gapbench.measure(str(tmp_path / "a" / "step-6"), ["signs"], out=tmp_path / "run", limit=3, max_new_tokens=2)
    assert again.manifest["tasks"]["signs"]["parameters"]["canvas"] == signs.SMALL.canvas


@pytest.mark.evidence
def test_it_reads_the_crop_and_misses_the_full_scene(run: gapbench.Run) -> None:
    bench = run.summary["benchmarks"]["signs"]
    assert bench["n"] == 1000
    assert bench["views"]["crop"]["accuracy"] >= 0.90
    assert 0.35 <= bench["views"]["full"]["accuracy"] <= 0.65
    assert bench["gap"]["ci"][0] > 0.2
    assert bench["views"]["full"]["unparsed"] < 0.02
    full = [c["full"]["estimate"] for c in bench["by_category"].values()]
    assert max(full) - min(full) > 0.1, "categories differ"
    areas = bench["by_evidence_area"]
    assert areas[-1]["to"] / areas[0]["from"] >= 16 * 0.9
    assert areas[-1]["full"]["estimate"] - areas[0]["full"]["estimate"] > 0.1, (
        "small evidence is harder in the full view"
    )


@pytest.mark.evidence
def test_the_report_says_that_the_gap_is_by_construction(run: gapbench.Run) -> None:
    for name in ("report.html", "report.md"):
        assert "by construction" in (run.path / name).read_text()
    assert Path(run.report).stat().st_size < 20e6
