"""Runs of realistic size: time and memory to summarise and report 2,000 and 200,000 records."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from gapbench.types import Record

SUMMARY = """
import sys, time
started = time.perf_counter()
from pathlib import Path
from gapbench.runs.records import read_frame
from gapbench.analysis.summary import summarise
summary = summarise(read_frame(Path(sys.argv[1])))
assert summary["benchmarks"]["big"]["n"] == int(sys.argv[2]) // 2
peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024  # ru_maxrss counts pytest too
print(time.perf_counter() - started, peak, "torch" in sys.modules)
"""


def write_run(folder: Path, count: int) -> Path:
    """A run of `count` records about count / 8 images: 4 samples each, both views."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"model": "synthetic", "benchmarks": {"big": {"card": {}}}}))
    with (folder / "records.jsonl").open("w") as lines:
        for i in range(count // 2):
            easy, area = rng.random(), float(rng.uniform(0.0005, 0.05))
            for view in ("full", "crop"):
                right = bool(rng.random() < 0.4 + 0.3 * easy + 0.2 * (view == "crop"))
                record = Record(
                    benchmark="big", sample=f"s{i}", view=view, repeat=0, outcome="right" if right else "wrong",
                    score=float(right), output=f"The answer is {'AB'[right]}, because " + "it looks like it. " * 5,
                    parsed="AB"[right], rule="letter-statement", reason="", question=f"What is on sign number {i}?",
                    options=("red", "green", "blue", "yellow"), answers=("B",), answer_type="letter",
                    category=f"category {i % 7}", cluster=f"image {i // 4}", image_hash=f"{i // 4:024x}",
                    image_size=(3000, 2000), boxes=((10.0, 10.0, 200.0, 120.0),), evidence="annotated",
                    evidence_area=area, region_policy="padded", region=(0.0, 0.0, 220.0, 130.0), region_area=area * 1.4,
                    images=1, sent_size=(3000, 2000), sent_pixels=6_000_000, image_tokens=1400, prompt_tokens=1460,
                    output_tokens=24, seconds=0.21,
                )  # fmt: skip
                lines.write(json.dumps(asdict(record)) + "\n")
    return folder


def test_2000_records_become_a_report_in_under_10_seconds(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", 2_000)
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "gapbench", "report", folder], check=True, timeout=120)
    seconds = time.perf_counter() - started
    print(f"2,000 records to report: {seconds:.1f} s")
    assert seconds < 10
    assert (folder / "report.html").stat().st_size < 20e6


@pytest.mark.evidence
def test_200000_records_become_a_summary_in_under_60_seconds_and_1_5_gigabytes(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", 200_000)
    done = subprocess.run(
        [sys.executable, "-c", SUMMARY, str(folder), "200000"], capture_output=True, text=True, check=True, timeout=300
    )
    seconds, megabytes, torch = done.stdout.split()
    print(f"200,000 records to summary: {float(seconds):.1f} s, {float(megabytes):.0f} MiB")
    assert float(seconds) < 60
    assert float(megabytes) < 1500
    assert torch == "False"


CHECK = """
import sys
from pathlib import Path
from gapbench.data.catalogue import load
from gapbench.data.task import TaskSettings, make_task
from gapbench.commands.check import check
result = check(make_task(load("mme_realworld=" + sys.argv[1]), TaskSettings()))
peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
print(result.counts["samples"], result.counts["images"], len(result.problems), peak)
"""


def write_mme_realworld(folder: Path, rows: int) -> int:
    """Write data in the published form of MME-RealWorld, in one row group. Returns its size in bytes."""
    rng = np.random.default_rng(0)
    coded = []
    for _ in range(400):
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (120, 160, 3), dtype=np.uint8)).save(buffer, "JPEG", quality=90)
        coded.append(base64.b64encode(buffer.getvalue()).decode())
    choices = ["(A) Red", "(B) Blue", "(C) Green", "(D) White", "(E) The image does not feature the object."]
    path = folder / "data" / "train-00000-of-00001.parquet"
    path.parent.mkdir(parents=True)
    names = ("index", "bytes", "question", "multi-choice options", "answer", "category", "l2-category")
    kinds = (pa.int64(), pa.string(), pa.string(), pa.list_(pa.string()), pa.string(), pa.string(), pa.string())
    schema = pa.schema(list(zip(names, kinds, strict=True)))
    with pq.ParquetWriter(path, schema, use_dictionary=False, compression="none") as writer:
        numbers = range(rows)
        table = pa.table(
            [
                list(numbers), [coded[i % len(coded)] for i in numbers], [f"What is number {i}?" for i in numbers],
                [choices] * rows, ["ABCDE"[i % 5] for i in numbers], ["Perception/Monitoring"] * rows,
                ["Vehicle/Attribute"] * rows,
            ],
            schema=schema,
        )  # fmt: skip
        writer.write_table(table, row_group_size=rows)
    return path.stat().st_size


@pytest.mark.evidence
def test_24000_rows_of_a_large_parquet_are_checked_in_under_1_gigabyte(tmp_path: Path) -> None:
    size = write_mme_realworld(tmp_path / "data", 24_000)
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", CHECK, str(tmp_path / "data")], capture_output=True, text=True, timeout=600, check=True,
        env={**os.environ, "HF_DATASETS_CACHE": str(tmp_path / "cache")},
    )  # fmt: skip
    samples, images, problems, peak = map(float, done.stdout.split())
    print(f"24,000 rows, {size / 1e9:.2f} GB: {time.perf_counter() - started:.0f} s, peak {peak:.0f} MiB")
    assert (samples, images) == (24_000, 400)
    assert problems == 1, "only that 24,000 samples are not the 23,609 of the card"
    assert peak < 1000
