"""What gapbench costs on top of the model: `gapbench.measure` against a bare `model.generate` loop.

    python tests/peers/throughput.py --model glance --limit 1000 --rounds 3

Both run in this process, in turn, on the same model, questions, batch size and thread count. The bare loop gets its
batches prepared beforehand (pictures drawn, cropped, processed, tokenised and sorted outside the clock) and only calls
`generate`. The other side is the whole of `measure` but for loading the model and writing the report: drawing,
cropping, processing, generating, parsing, scoring and appending records. Prints both rates and their ratio.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from gapbench import catalogue, measurement, models
from gapbench.benchmark import Benchmark
from gapbench.cases import prepare, show
from gapbench.engines import Request, transformers
from gapbench.prompts import prompt


def bare(engine: transformers.TransformersEngine, batches: list[Any]) -> float:
    """Seconds for the loop anyone would write, over batches that are ready."""
    import torch

    started = time.perf_counter()
    with torch.inference_mode():
        for inputs in batches:
            engine.loaded.model.generate(**inputs, max_new_tokens=engine.max_new_tokens, do_sample=False)
    return time.perf_counter() - started


def whole(engine: transformers.TransformersEngine, benchmark: Benchmark, limit: int) -> float:
    """Seconds for everything `measure` does between loading the model and writing the report."""
    asked = {benchmark.name: benchmark.samples(limit)}
    with tempfile.TemporaryDirectory() as folder:
        from gapbench.plan import continue_or_start, make_plan

        started = time.perf_counter()
        plan = make_plan(engine, [benchmark], asked, ("full", "crop"), "", limit, 1, 0)
        plan = continue_or_start(Path(folder), plan, asked, "throughput")
        todo = measurement._todo([benchmark], asked, {benchmark.name: ("full", "crop")}, 1, set())
        measurement._ask(engine, Path(folder), plan, todo, asked, 0, quiet=True)
        return time.perf_counter() - started


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="glance")
    parser.add_argument("--benchmark", default="signs")
    parser.add_argument("--limit", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--max-new-tokens", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()

    engine = transformers.load(args.model, max_new_tokens=args.max_new_tokens, batch_size=args.batch_size)
    benchmark = catalogue.load(args.benchmark, models.benchmark_defaults(args.model))
    samples = benchmark.samples(args.limit)

    def requests() -> Any:
        for sample in samples:
            case = prepare(sample, benchmark.card.region)
            for view in ("full", "crop"):
                yield Request((sample.id, view), show(case, view)[0], prompt(sample, benchmark.card.prompt))

    batches = [inputs for _, inputs, _ in engine._prepare(requests())]
    answers = 2 * len(samples)
    bare(engine, batches[:2])  # warm up
    ratios = []
    for number in range(args.rounds):
        alone, everything = bare(engine, batches), whole(engine, benchmark, args.limit)
        ratios.append(alone / everything)
        print(
            f"round {number + 1}: bare generate {answers / alone:.0f} answers/s, "
            f"gapbench {answers / everything:.0f} answers/s, ratio {ratios[-1]:.2f}",
            flush=True,
        )
    print(f"median ratio {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    main()
