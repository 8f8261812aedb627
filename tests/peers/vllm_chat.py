"""What gapbench costs on top of vLLM: its vLLM engine against bare `LLM.chat`, on the same questions.

    PYTHONPATH=. .vllm/bin/python tests/peers/vllm_chat.py --model glance --samples 300 --rounds 5

In the environment that has vLLM, both in this process, in turn, on one `LLM`: the same images and prompts (each
question from the full scene and from its crop), the same chat template and greedy sampling. Before every pass vLLM's
prefix and image caches are emptied, so that neither side finds the other's work done. The bare side gets a list of
conversations whose images are drawn and cut out beforehand, and one call of `LLM.chat`.

*engine*: the engine's `generate`, given the same images: what our queueing, escaping, decoding and counting cost.
*whole*: as measured for real, drawing scenes and cutting crops included, in the thread beside the engine. For glance's
tiny scenes that drawing is a good part of the work, and without a GPU it wants the same cores as the model.

On a machine that others use as well, `--processor-time` (with VLLM_ENABLE_V1_MULTIPROCESSING=0, so that vLLM works in
this process) tells what the work costs, whoever else was busy meanwhile. Nothing that runs beside the model is free
then, so that `whole` falls behind by all of its drawing.

Prints answers per second of each and the ratios to bare `LLM.chat`, by round and in the median.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from helpers import shown

from gapbench.data import signs
from gapbench.engines import vllm
from gapbench.engines.options import Generation
from gapbench.types import Request
from gapbench.views.pixels import Pixels
from gapbench.views.prepare import prepare
from gapbench.views.prompts import prompt

CLOCK = time.perf_counter


def requests(questions: int, **style: Any) -> Iterator[Request]:
    """Requests for both views of each sample; an image is drawn and cut out when its request is taken."""
    case = None
    for sample in signs.samples(samples=questions, **style):
        case = prepare(sample, "padded", case)
        for view in ("full", "crop"):
            yield Request((sample.id, view), shown(case, view)[0], prompt(sample))


def bare(engine: vllm.VllmEngine, conversations: Sequence[list[Any]]) -> tuple[float, list[str]]:
    """Seconds of one call of `LLM.chat`, and its answers in order."""
    from vllm import SamplingParams

    sampling = SamplingParams(temperature=0.0, max_tokens=engine.generation.max_new_tokens)
    template = engine.chat.processor.chat_template
    started = CLOCK()
    outputs = engine.llm.chat(conversations, sampling, use_tqdm=False, chat_template=template)
    return CLOCK() - started, [output.outputs[0].text for output in outputs]


def ours(engine: vllm.VllmEngine, stored: Iterator[Request]) -> tuple[float, dict[Any, str]]:
    """Seconds of `generate`, and its answers by key."""
    started = CLOCK()
    answers = {key: answer.text for key, answer in engine.generate(stored)}
    return CLOCK() - started, answers


def empty_caches(engine: vllm.VllmEngine) -> None:
    """Nothing of an earlier pass is left."""
    engine.llm.reset_prefix_cache()
    engine.llm.reset_mm_cache()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="glance")
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--large", action="store_true", help="scenes of 1344 px with options, for real models")
    parser.add_argument("--max-new-tokens", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--processor-time", action="store_true", help="of this process, all threads; not wall time")
    args = parser.parse_args()
    if args.processor_time:
        global CLOCK
        CLOCK = time.process_time

    engine = vllm.load(args.model, Generation(args.max_new_tokens), Pixels(), vllm.VllmOptions())
    style = {} if args.large else {**asdict(signs.SMALL), "categories": "letter,shape"}
    stored = list(requests(args.samples, **style))
    conversations = []
    for request in stored:
        shown = [{"type": "image_pil", "image_pil": image} for image in request.images]
        conversations.append([{"role": "user", "content": [*shown, {"type": "text", "text": request.prompt}]}])
    sides = {
        "bare": lambda: bare(engine, conversations),
        "engine": lambda: ours(engine, iter(stored)),
        "whole": lambda: ours(engine, requests(args.samples, **style)),
    }
    rates: dict[str, list[float]] = {name: [] for name in sides}
    answers: dict[str, Any] = {}
    for number in range(args.rounds + 1):  # the first one warms up
        for name in [*sides, *sides][number % len(sides) :][: len(sides)]:  # nobody always comes first
            empty_caches(engine)
            seconds, answers[name] = sides[name]()
            if number:
                rates[name].append(len(stored) / seconds)
        if number:
            shares = ", ".join(f"{name} {rates[name][-1] / rates['bare'][-1]:.3f}" for name in ("engine", "whole"))
            print(f"round {number}: bare LLM.chat {rates['bare'][-1]:.0f} answers/s; of that: {shares}", flush=True)
    answers["bare"] = {request.key: text for request, text in zip(stored, answers["bare"], strict=True)}
    equal = sum(answers["engine"][key] == text for key, text in answers["bare"].items())
    print(f"{equal} of {len(stored)} answers are equal")
    for name in ("engine", "whole"):
        ratios = [mine / theirs for mine, theirs in zip(rates[name], rates["bare"], strict=True)]
        print(
            f"{name}: median {statistics.median(rates[name]):.0f} answers/s against "
            f"{statistics.median(rates['bare']):.0f}; median ratio {statistics.median(ratios):.3f} "
            f"({min(ratios):.3f} to {max(ratios):.3f})"
        )


if __name__ == "__main__":
    main()
