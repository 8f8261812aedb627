"""What gapbench's client of a server costs: against vLLM's own, `vllm bench serve`, on one server of vLLM's.

    python tests/peers/vllm_bench_serve.py --samples 500 --concurrency 32 --rounds 5     # .vllm, GAPBENCH_VLLM_PYTHON

Both ask the same requests (each question from the full scene and from its crop, the very same data URIs), in turn, with
the same number under way. Before every pass the server's prefix and image caches are emptied. vLLM's client reads
requests that are ready from a file, streams its answers and is timed by itself, its start left out.

*stored*: ours, given images with their stored bytes, as a benchmark's own images have; *encoded*: ours, given
images, each compressed as PNG on the way, as crops are. Server and client share the machine: on two cores, what a
client computes the server cannot, which a GPU behind a few more cores would forgive. The processor time of our side is
printed too, for machines that others use.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

from engines.vllm_environment import environment, python, server
from helpers import shown

from gapbench.data import signs
from gapbench.engines import server as client
from gapbench.engines.models import resolve
from gapbench.engines.options import Generation
from gapbench.engines.server.image_urls import _png, encode_request
from gapbench.types import Request
from gapbench.views.pixels import Pixels
from gapbench.views.prepare import prepare
from gapbench.views.prompts import prompt

THEIRS = """
import argparse
from vllm.benchmarks.serve import add_cli_args, main
parser = argparse.ArgumentParser()
add_cli_args(parser)
main(parser.parse_args())
"""  # the CPU build has no `vllm bench`: the command asks for the version of a package called vllm, which it is not


def requests(questions: int, large: bool) -> list[Request]:
    """Each question in both views, with the images' stored bytes."""
    style = {} if large else {**asdict(signs.SMALL), "categories": "letter,shape"}
    asked = []
    for sample in signs.samples(samples=questions, **style):
        case = prepare(sample, "padded")
        for view in ("full", "crop"):
            images = shown(case, view)[0]
            stored = tuple(map(_png, images))
            asked.append(Request((sample.id, view), images, prompt(sample), encoded=stored))
    return asked


def bench(url: str, model: str, file: Path, count: int, concurrency: int, tokens: int) -> float:
    """Requests per second of vLLM's client."""
    result = file.with_suffix(".result.json")
    command = [
        python(), "-c", THEIRS, "--backend", "openai-chat", "--base-url", url.removesuffix("/v1"), "--endpoint",
        "/v1/chat/completions", "--model", "tested", "--tokenizer", resolve(model), "--dataset-name", "custom_image",
        "--dataset-path", str(file), "--disable-shuffle", "--num-prompts", str(count), "--max-concurrency",
        str(concurrency), "--custom-output-len", str(tokens), "--temperature", "0", "--disable-tqdm", "--save-result",
        "--result-dir", str(result.parent), "--result-filename", result.name,
    ]  # fmt: skip
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=3600)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(result.read_text())
    result.unlink()
    assert found["completed"] == count, (found["completed"], found.get("errors", [])[:1])
    return float(found["request_throughput"])


def ours(url: str, asked: Sequence[Request], concurrency: int | None, tokens: int) -> tuple[float, float]:
    """Requests per second of our client, and its processor time per request (ms)."""
    options = client.ServerOptions(base_urls=(url,), concurrency=concurrency)
    engine = client.load("tested", Generation(tokens), Pixels(), options)
    started, busy = time.perf_counter(), time.process_time()
    answers = list(engine.generate(iter(asked)))
    seconds, busy = time.perf_counter() - started, time.process_time() - busy
    assert not [answer.error for _, answer in answers if answer.error]
    assert len(answers) == len(asked)
    return len(asked) / seconds, 1000 * busy / len(asked)


def empty_caches(url: str) -> None:
    """Nothing of an earlier pass is left."""
    for name in ("reset_prefix_cache", "reset_mm_cache"):
        posted = urllib.request.Request(f"{url.removesuffix('/v1')}/{name}", method="POST")  # noqa: S310
        with urllib.request.urlopen(posted, timeout=60):  # noqa: S310
            pass


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="glance")
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--large", action="store_true", help="scenes of 1344 px with options, for real models")
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--max-new-tokens", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()

    stored = requests(args.samples, args.large)
    encoded = [replace(request, encoded=()) for request in stored]
    rates: dict[str, list[float]] = {"bench": [], "stored": [], "encoded": [], "automatic": []}
    with tempfile.TemporaryDirectory() as folder, server(args.model) as url:
        file = Path(folder) / "requests.jsonl"
        messages = [json.loads(encode_request(request).messages) for request in stored]
        file.write_text("".join(json.dumps({"content": talk[0]["content"]}) + "\n" for talk in messages))
        ways = {
            "bench": lambda: (bench(url, args.model, file, len(stored), args.concurrency, args.max_new_tokens), 0.0),
            "stored": lambda: ours(url, stored, args.concurrency, args.max_new_tokens),
            "encoded": lambda: ours(url, encoded, args.concurrency, args.max_new_tokens),
            "automatic": lambda: ours(url, stored, None, args.max_new_tokens),
        }
        ours(url, stored[:200], args.concurrency, args.max_new_tokens)  # warm up
        for number in range(args.rounds):
            said = []
            for name in [*ways, *ways][number % len(ways) :][: len(ways)]:  # nobody always comes first
                empty_caches(url)
                rate, busy = ways[name]()
                rates[name].append(rate)
                said.append(f"{name} {rate:.1f}/s" + (f" ({busy:.1f} ms of ours each)" if busy else ""))
            print(f"round {number + 1}, load {os.getloadavg()[0]:.1f}: {', '.join(said)}", flush=True)
    for name in ("stored", "encoded", "automatic"):
        ratios = [mine / theirs for mine, theirs in zip(rates[name], rates["bench"], strict=True)]
        print(
            f"{name}: median {statistics.median(rates[name]):.1f} requests/s against "
            f"{statistics.median(rates['bench']):.1f}; median ratio {statistics.median(ratios):.3f} "
            f"({min(ratios):.3f} to {max(ratios):.3f})"
        )


if __name__ == "__main__":
    main()
