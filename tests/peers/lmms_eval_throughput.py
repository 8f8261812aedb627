"""gapbench (transformers) against lmms-eval and a plain batch-1 loop: the same questions, in turn.

    python -m venv .lmms
    .lmms/bin/pip install --constraint constraints.txt "lmms-eval[video-legacy]==0.7.3" --editable .
    .lmms/bin/python tests/peers/lmms_eval_throughput.py --threads 1 --rounds 5

One environment holds both, so that torch, transformers and Pillow are the same; it should not be the one you work in,
for lmms-eval brings some hundred packages. A Parquet file is made with the first questions of glance's own benchmark
(`signs`, full scenes as PNG, with gapbench's prompt), which every side reads. One checkpoint, one dtype, one number of
threads, greedy, at most 128 new tokens. Each side is a process of its own; they take turns of half a second, all others
being stopped meanwhile, so that whoever else uses the machine slows all of them alike, and only a side's own turns
count. A first round warms up and does not count. Needs signals (no Windows).

`loop` is `batch_one.py`. `chat:N` and `simple:N` are lmms-eval's class for glance's architecture, `qwen3_vl`, with
batch size N (1 by default), through `simple_evaluate`: *chat* is what its command line takes, *simple* (with
`--force_simple`) processes the next batch in a thread. What was done for it: weights are loaded in --dtype (the
class says bfloat16 and has no setting), pixel bounds are the processor's own, and its copy of the chat
template leaves out the system turn that the class always adds and glance has never seen (`--system` keeps it).

*asking* is what a side spends between the first question and the last, images decoded and processed; in gapbench it
contains judging and writing records, in lmms-eval it does not. *CPU* is the processor time of that, which others on the
machine change less. *whole* is the process: imports, loading, gapbench's self-check and report.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from gapbench.data import catalogue
from gapbench.engines import models
from gapbench.glance import FOLDER
from gapbench.views.prompts import prompt

NEW_TOKENS = 128
TURN = 0.5
"""Seconds for which one side runs while the others stand still."""
TASK = """
task: gapbench_signs
dataset_path: parquet
dataset_kwargs: {{data_files: {{test: {questions}}}}}
test_split: test
output_type: generate_until
doc_to_visual: !function utils.doc_to_visual
doc_to_text: !function utils.doc_to_text
doc_to_messages: !function utils.doc_to_messages
doc_to_target: answer
process_results: !function utils.process_results
generation_kwargs: {{max_new_tokens: {tokens}, temperature: 0, do_sample: false}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
"""
UTILS = """
def doc_to_visual(doc):
    return [doc["image"].convert("RGB")]

def doc_to_text(doc, lmms_eval_specific_kwargs=None):
    return doc["prompt"]

def doc_to_messages(doc, lmms_eval_specific_kwargs=None):
    image = {"type": "image", "url": doc["image"].convert("RGB")}
    return [{"role": "user", "content": [image, {"type": "text", "text": doc["prompt"]}]}]

def process_results(doc, results):
    return {"exact_match": float(results[0].strip().lower() == doc["answer"].lower())}
"""
WITHOUT_SYSTEM = "{%- set messages = messages | rejectattr('role', 'equalto', 'system') | list -%}"


def make_questions(work: Path, count: int, system: bool) -> None:
    """The questions, lmms-eval's task and its copy of the checkpoint."""
    import datasets

    rows = []
    for sample in catalogue.load("signs", models.benchmark_defaults("glance")).samples(count):
        stored = io.BytesIO()
        sample.image().save(stored, "PNG")
        row = {"id": sample.id, "image": {"bytes": stored.getvalue(), "path": None}, "question": sample.question}
        rows.append({**row, "prompt": prompt(sample), "answer": sample.answers[0], "group": sample.cluster})
    text = dict.fromkeys(("id", "question", "prompt", "answer", "group"), datasets.Value("string"))
    features = datasets.Features({**text, "image": datasets.Image()})
    datasets.Dataset.from_list(rows, features).to_parquet(work / "questions.parquet")
    (work / "task").mkdir()
    (work / "task" / "signs.yaml").write_text(TASK.format(questions=work / "questions.parquet", tokens=NEW_TOKENS))
    (work / "task" / "utils.py").write_text(UTILS)
    shutil.copytree(FOLDER, work / "glance")
    if not system:
        template = work / "glance" / "chat_template.jinja"
        template.write_text(WITHOUT_SYSTEM + template.read_text())


def ask_gapbench(work: Path, dtype: str) -> dict[str, Any]:
    """`gapbench.measure` with its defaults, in the full view."""
    import gapbench
    from gapbench.engines.transformers import TransformersEngine

    took: dict[str, Any] = {}
    generate = TransformersEngine.generate

    def timed(engine: TransformersEngine, requests: Any) -> Any:
        took["began"], busy = time.perf_counter(), time.process_time()
        yield from generate(engine, requests)  # records are written meanwhile
        took["ended"], took["busy"] = time.perf_counter(), time.process_time() - busy

    TransformersEngine.generate = timed  # type: ignore[method-assign]  # called last for the questions themselves
    with tempfile.TemporaryDirectory() as out:
        questions = f"{work}/questions.parquet"
        gapbench.measure("glance", questions, ("full",), out, dtype=dtype, max_new_tokens=NEW_TOKENS)
        rows = map(json.loads, (Path(out) / "records.jsonl").read_text().splitlines())
        return {**took, "answers": {row["sample"]: row["output"] for row in rows}}


def ask_lmms_eval(work: Path, dtype: str, kind: str, batch_size: int) -> dict[str, Any]:
    """`simple_evaluate` with the class `qwen3_vl`."""
    from gapbench.util.torchvision_repair import repair

    repair()
    from lmms_eval import evaluator
    from lmms_eval import models as theirs
    from lmms_eval.tasks import TaskManager
    from transformers import Qwen3VLForConditionalGeneration as Architecture

    model = theirs.get_model("qwen3_vl", force_simple=kind == "simple")
    load, generate = Architecture.from_pretrained, model.generate_until
    took: dict[str, Any] = {}

    def as_asked(*args: Any, **kwargs: Any) -> Any:
        return load(*args, **{**kwargs, "dtype": dtype})

    def timed(self: Any, requests: Any) -> Any:
        took["began"], busy = time.perf_counter(), time.process_time()
        answers = generate(self, requests)
        took["ended"], took["busy"] = time.perf_counter(), time.process_time() - busy
        for request, answer in zip(requests, answers, strict=True):
            row = self.task_dict[request.args[4]][request.args[5]][request.args[3]]
            took.setdefault("answers", {})[row["id"]] = getattr(answer, "text", answer)
        return answers

    Architecture.from_pretrained, model.generate_until = as_asked, timed
    size = json.loads((work / "glance" / "processor_config.json").read_text())["image_processor"]["size"]
    evaluator.simple_evaluate(
        model="qwen3_vl",
        model_args=f"pretrained={work / 'glance'},device_map=cpu,min_pixels={size['shortest_edge']},"
        f"max_pixels={size['longest_edge']}",
        tasks=["gapbench_signs"],
        batch_size=batch_size,
        device="cpu",
        task_manager=TaskManager(include_path=str(work / "task"), model_name="qwen3_vl"),
        force_simple=kind == "simple",
    )
    return took


def start(side: str, work: Path, dtype: str, threads: int) -> subprocess.Popen[bytes]:
    """One side in a process of its own, which writes `SIDE.json`; it stands still until it is its turn."""
    here, out = Path(__file__), str(work / f"{side}.json")
    command = [str(here), "--side", side, "--work", str(work), "--dtype", dtype]
    if side == "loop":
        command = [str(here.with_name("batch_one.py")), str(FOLDER), str(work / "questions.parquet"), out]
        command += [dtype, str(NEW_TOKENS)]
    cache = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(work / f"{side} cache"), "TOKENIZERS_PARALLELISM": "false"}
    with (work / f"{side}.log").open("w") as log:
        env = {**os.environ, **cache, "OMP_NUM_THREADS": str(threads)}
        process = subprocess.Popen([sys.executable, *command], stdout=log, stderr=log, env=env, start_new_session=True)
    os.killpg(process.pid, signal.SIGSTOP)
    return process


def run(sides: list[str], work: Path, dtype: str, threads: int) -> dict[str, dict[str, Any]]:
    """All sides, in turns of `TURN` seconds; for each the seconds of its turns before (`whole`) and while asking."""
    processes = {side: start(side, work, dtype, threads) for side in sides}
    turns: dict[str, list[tuple[float, float]]] = {side: [] for side in sides}
    try:
        while any(process.poll() is None for process in processes.values()):
            for side, process in processes.items():
                if process.poll() is not None:
                    continue
                began = time.perf_counter()
                os.killpg(process.pid, signal.SIGCONT)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(TURN)
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGSTOP)
                turns[side].append((began, time.perf_counter()))
    finally:
        for process in processes.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    took = {}
    for side, process in processes.items():
        if process.returncode:
            raise SystemExit(f"{side} ended with {process.returncode}:\n{(work / f'{side}.log').read_text()[-3000:]}")
        found = json.loads((work / f"{side}.json").read_text())
        asking = sum(max(0.0, min(end, found["ended"]) - max(begin, found["began"])) for begin, end in turns[side])
        took[side] = {**found, "asking": asking, "whole": sum(end - begin for begin, end in turns[side])}
    return took


def row(side: str, took: list[dict[str, Any]], ours: list[dict[str, Any]]) -> str:
    """A line of the table: medians, in brackets the least and the most, and how many times faster gapbench was."""
    count = len(took[0]["answers"])
    rates = sorted(count / t["asking"] for t in took)
    cells = [f"{statistics.median(rates):.0f} ({rates[0]:.0f} to {rates[-1]:.0f})"]
    cells.append(f"{1000 * statistics.median(t['busy'] for t in took) / count:.1f}")
    cells.append(f"{statistics.median(t['whole'] for t in took):.1f}")
    for part in ("asking", "busy", "whole"):
        ratios = sorted(t[part] / o[part] for t, o in zip(took, ours, strict=True))
        cells.append(f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")
    equal = sum(answer == ours[0]["answers"][key] for key, answer in took[0]["answers"].items())
    return " | ".join((f"| {side}", *cells, f"{equal} of {count} |"))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="OMP_NUM_THREADS of every side")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--sides", nargs="+", default=["loop", "chat:1", "simple:1", "chat:64", "simple:64"])
    parser.add_argument("--system", action="store_true", help="leave lmms-eval its system turn")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        kind, _, size = args.side.partition(":")
        asked = ask_lmms_eval(args.work, args.dtype, kind, int(size)) if size else ask_gapbench(args.work, args.dtype)
        (args.work / f"{args.side}.json").write_text(json.dumps(asked))
        return

    sides = ["gapbench", *args.sides]
    took: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        make_questions(work, args.samples, args.system)
        for number in range(args.rounds + 1):
            order = [*sides, *sides][number % len(sides) :][: len(sides)]  # nobody always comes first
            for side, found in run(order, work, args.dtype, args.threads).items():
                rate, cost = args.samples / found["asking"], 1000 * found["busy"] / args.samples
                said = f"CPU {cost:.1f} ms each, whole {found['whole']:.1f} s, load {os.getloadavg()[0]:.1f}"
                print(f"round {number} {side}: {rate:.1f} samples/s, {said}", flush=True)
                if number:
                    took[side].append(found)
    print("| side | samples/s | CPU ms | whole s | gapbench faster: asking | by CPU | whole | equal answers |")
    print("|---|---|---|---|---|---|---|---|")
    for side in sides:
        print(row(side, took[side], took["gapbench"]))


if __name__ == "__main__":
    main()
