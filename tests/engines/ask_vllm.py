"""Ask gapbench's vLLM engine, in the environment that has vLLM: reads FOLDER/job.json, writes FOLDER/answers.json.

    PYTHONPATH=. .vllm/bin/python tests/engines/ask_vllm.py FOLDER

A job has entries by name, each with `load` (arguments of `load`), `settings` (fields of the engine that are set
afterwards) and `requests` (key, image files, prompt, error). Entries in a row with the same `load` share what it
started. What an entry raises is its answer: {"raised": "ModelError: ..."}. More that an entry may ask for:

`ids`      prompt and answer in token ids, too
`endless`  the requests repeated for ever; stop after so many answers
`bounds`   other values for constants of the engine's module
`after`    what happens to vLLM's processes after the first answer: `kill`, or `interrupt` as Ctrl-C does
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from loads import vllm
from PIL import Image
from serve_vllm import fork_workers

from gapbench.engines import vllm as engine_module
from gapbench.types import Request


def ask(folder: Path, engine: Any, entry: dict[str, Any]) -> dict[str, Any]:
    """The answers of one entry, by key."""
    requests = [
        Request(
            r["key"], tuple(Image.open(folder / name).convert("RGB") for name in r["images"]), r["prompt"], r["error"]
        )
        for r in entry["requests"]
    ]
    with ExitStack() as bounds:
        for name, value in entry.get("bounds", {}).items():
            bounds.enter_context(patch.object(engine_module, name, value))
        if "endless" in entry:
            return endless(engine, requests, entry["endless"])
    answers: dict[str, Any] = {}
    for key, answer in engine.generate(iter(requests)):
        assert key not in answers, f"{key} was answered twice"
        answers[str(key)] = asdict(answer)
        if len(answers) == 1 and (action := entry.get("after")):
            {"kill": kill_children, "interrupt": interrupt_all}[action]()
    if entry.get("ids"):
        engine._replies.tokenizer = SimpleNamespace(decode=lambda ids, **_: json.dumps(ids))
        for key, answer in engine.generate(iter(requests)):
            answers[str(key)]["ids"] = [] if answer.error else json.loads(answer.text)
        for request in requests:
            if not answers[str(request.key)]["error"]:
                answers[str(request.key)]["prompt_ids"] = engine.prompt_ids(request)
    return {"info": engine.info, "answers": answers}


def endless(engine: Any, requests: list[Request], count: int) -> dict[str, Any]:
    """How many requests were taken when `count` of them were answered, and whether the engine still works then."""
    taken: list[int] = []

    def repeated() -> Iterator[Request]:
        for number, request in enumerate(itertools.cycle(requests)):
            taken.append(number)
            yield Request(number, request.images, request.prompt)

    answers = engine.generate(repeated())
    for _ in range(count):
        next(answers)
    answers.close()
    return {"taken": len(taken), "afterwards": [answer.error for _, answer in engine.generate(requests)]}


def kill_children() -> None:
    """What an out-of-memory killer does."""
    import psutil

    for child in psutil.Process().children(recursive=True):
        child.kill()


def interrupt_all() -> None:
    """What Ctrl-C does: every process of the group gets the signal."""
    os.killpg(os.getpgrp(), signal.SIGINT)


def main() -> None:
    """Command line."""
    folder = Path(sys.argv[1])
    fork_workers()
    results: dict[str, Any] = {}
    engine = load = None
    for name, entry in json.loads((folder / "job.json").read_text()).items():
        try:
            if entry["load"] != load:
                engine = load = None  # vLLM's own state is global, so the old one must be gone before a new one comes
                engine = vllm.load(**entry["load"])
                load = entry["load"]
            generation = replace(engine.generation, **entry["settings"])
            results[name] = ask(folder, replace(engine, generation=generation), entry)
        except (Exception, KeyboardInterrupt) as error:
            results[name] = {"raised": f"{type(error).__name__}: {error}"}
    (folder / "answers.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main()
