"""Ask gapbench's vLLM engine, in the environment that has vLLM: reads FOLDER/job.json, writes FOLDER/answers.json.

    PYTHONPATH=. .vllm/bin/python tests/engines/ask_vllm.py FOLDER

A job has entries by name, each with `load` (arguments of `load`) and `requests` (key, picture files, prompt, error).
`ids` also asks for prompt and answer in token ids. What an entry raises is its answer: {"raised": "ModelError: ..."}.
`endless` repeats the requests for ever and stops after so many answers; `kill` kills vLLM's processes after the first.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image

from gapbench.engines import Request, vllm


def ask(folder: Path, entry: dict[str, Any]) -> dict[str, Any]:
    """The answers of one entry, by key."""
    engine = vllm.load(**entry["load"])
    asked = [
        Request(
            r["key"], tuple(Image.open(folder / name).convert("RGB") for name in r["images"]), r["prompt"], r["error"]
        )
        for r in entry["requests"]
    ]
    if "endless" in entry:
        return endless(engine, asked, entry["endless"])
    answers: dict[str, Any] = {}
    for key, answer in engine.generate(iter(asked)):
        assert key not in answers, f"{key} was answered twice"
        answers[str(key)] = asdict(answer)
        if entry.get("kill") and len(answers) == 1:
            kill_children()
    if entry.get("ids"):
        engine._decode = lambda ids, **_: json.dumps(ids)
        for key, answer in engine.generate(iter(asked)):
            answers[str(key)]["ids"] = json.loads(answer.text)
        for request in asked:
            answers[str(request.key)]["prompt_ids"] = engine.prompt_ids(request)
    return {"info": engine.info, "answers": answers}


def endless(engine: Any, asked: list[Request], wanted: int) -> dict[str, Any]:
    """How many requests were taken when `wanted` of them were answered, and whether the engine still works then."""
    taken: list[int] = []

    def requests() -> Iterator[Request]:
        for number, request in enumerate(itertools.cycle(asked)):
            taken.append(number)
            yield Request(number, request.images, request.prompt)

    answers = engine.generate(requests())
    for _ in range(wanted):
        next(answers)
    answers.close()
    return {"taken": len(taken), "afterwards": [answer.error for _, answer in engine.generate(asked)]}


def kill_children() -> None:
    """What an out-of-memory killer does."""
    import psutil

    for child in psutil.Process().children(recursive=True):
        child.kill()


def main() -> None:
    """Command line."""
    folder = Path(sys.argv[1])
    found: dict[str, Any] = {}
    for name, entry in json.loads((folder / "job.json").read_text()).items():
        try:
            found[name] = ask(folder, entry)
        except Exception as error:
            found[name] = {"raised": f"{type(error).__name__}: {error}"}
    (folder / "answers.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
