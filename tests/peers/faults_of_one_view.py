"""Runs in which only the full image breaks, by every engine: what the verdict says.

    python tests/peers/faults_of_one_view.py         # a table; exit code 1 if a verdict states a plain gap

The embedded model answers 30 questions of `signs`. In half of the rows the fault is real: a context (`--max-model-len`)
that the full image's prompt does not fit into, or fits into but for one token of the answer. In the others a server or
the model's tokens are replaced, for the full image alone. Without a fault the gap is in the first row.

Limits: the rows of vLLM need its environment (`.ci/vllm-environment`).
"""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent)]

import torch  # noqa: E402
from engines import vllm_environment  # noqa: E402
from engines.loads import transformers  # noqa: E402
from engines.stub_server import HttpRequest, Response, Stub, chat  # noqa: E402
from PIL import Image  # noqa: E402

import gapbench  # noqa: E402
from gapbench.engines.transformers import TransformersEngine  # noqa: E402
from gapbench.types import Request  # noqa: E402

LIMIT, CANVAS = 30, 336
SIGNS = f"signs:canvas={CANVAS},options=false,size_min=12,size_max=48"
THOUGHT = "<think>Is it B? Let me see. The answer is"


def measured(folder: Path, **settings: Any) -> dict[str, Any]:
    """The summary of a run."""
    settings = {"selfcheck": False, "limit": LIMIT, "engine": "transformers", **settings}
    return gapbench.measure("glance", [SIGNS], out=folder, **settings).summary


def lengths(folder: Path) -> tuple[int, int]:
    """The most prompt tokens of a crop and of a full image."""
    found = {"full": 0, "crop": 0}
    for line in (folder / "records.jsonl").read_text().splitlines():
        record = json.loads(line)
        found[record["view"]] = max(found[record["view"]], record["prompt_tokens"])
    return found["crop"], found["full"]


def saying(words: str, ends: bool) -> Callable[..., Any]:
    """In place of the model: these words for every full image."""
    run = TransformersEngine._run

    def said(self: TransformersEngine, inputs: Any, keys: Any) -> Any:
        (out, logps), tokenizer = run(self, inputs, keys), self.loaded.processor.tokenizer
        ids = tokenizer.encode(words, add_special_tokens=False) + [tokenizer.eos_token_id] * ends
        rows = [ids if key[2] == "full" else row for key, row in zip(keys, out.tolist(), strict=True)]
        longest, end, going_on = max(map(len, rows)), [tokenizer.eos_token_id], [0]
        padded = [r + (going_on if r == ids and not ends else end) * (longest - len(r)) for r in rows]
        return torch.tensor(padded), logps

    return said


def replying(content: Any, finish: str, **message: Any) -> Callable[[HttpRequest, int], Response]:
    """A server that answers crops as the model does and full images like this."""

    model = transformers.load("glance")

    def reply(request: HttpRequest, number: int) -> Response:
        image = Image.open(io.BytesIO(base64.b64decode(request.urls[0].partition(",")[2])))
        if image.width == CANVAS:
            return chat(content, finish, **message)
        ((_, answer),) = model.generate([Request(0, (image.convert("RGB"),), request.prompt)])
        return chat(answer.text)

    return reply


def by_vllm(folder: Path, *flags: str) -> dict[str, Any]:
    """The summary of a run by vLLM in its environment."""
    command = [vllm_environment.python(), "-m", "gapbench", "measure", "glance", "-b", SIGNS, "--limit", str(LIMIT),
               "--engine", "vllm", "--no-selfcheck", "--quiet", "--out", str(folder), *flags]  # fmt: skip
    done = subprocess.run(command, env=vllm_environment.environment(), capture_output=True, text=True, check=False)
    if not (folder / "summary.json").exists():
        raise RuntimeError(done.stderr[-2000:])
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return summary


def main() -> int:
    """Print the table and return the exit code."""
    warnings.simplefilter("ignore")
    bad = 0

    def show(engine: str, fault: str, summary: dict[str, Any], broken: bool = True) -> None:
        nonlocal bad
        verdict = summary["verdict"]
        plain = "gap" in verdict and not any(w in verdict for w in ("no gap", "nothing was", "counting the missing"))
        bad += broken and plain
        print(f"| {engine} | {fault} | {verdict} |", flush=True)

    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        print("| engine | fault of the full image | verdict |\n|---|---|---|")
        show("transformers", "none", measured(root / "0"), broken=False)
        crop, full = lengths(root / "0")
        show("transformers", "too long (real)", measured(root / "1", max_model_len=(crop + full) // 2))
        show("transformers", "too long or cut off at the context (real)", measured(root / "2", max_model_len=full + 1))
        whole = TransformersEngine._run
        for number, (fault, words, ends) in enumerate(
            (("cut off", "The sign in this picture", False), ("thought cut off", THOUGHT, False), ("empty", "", True))
        ):
            TransformersEngine._run = saying(words, ends)  # type: ignore[method-assign]
            show("transformers", fault, measured(root / f"3{number}"))
        TransformersEngine._run = whole  # type: ignore[method-assign]
        for number, (fault, reply) in enumerate({
            "empty content beside reasoning": replying("", "length", reasoning_content="The sign seems"),
            "null content": replying(None, "length"),
            "cut off": replying("The sign seems to be", "MAX_TOKENS"),
            "thought cut off": replying("<think>The sign seems to be", "length"),
            "filtered": replying("The sign", "SAFETY"),
        }.items()):  # fmt: skip
            with Stub(reply) as stub:
                summary = measured(root / f"4{number}", engine="server", base_urls=[stub.url])
                show("server (replaced)", fault, summary)
        if (vllm_environment.ROOT / ".vllm" / "installed").exists():
            for name, limit in (("too long (real)", (crop + full) // 2), ("cut off at the context (real)", full + 1)):
                show("vllm", name, by_vllm(root / f"v{limit}", "--max-model-len", str(limit)))
                with vllm_environment.server("glance", "--max-model-len", str(limit)) as url:
                    options = {"engine": "server", "base_urls": [url]}
                    summary = gapbench.measure(
                        "tested", [SIGNS], out=root / f"s{limit}", limit=LIMIT, selfcheck=False, **options
                    ).summary
                    show("server (vLLM's own)", name, summary)
        print(f"\n{bad} verdicts state a plain gap")
    return bad > 0


if __name__ == "__main__":
    sys.exit(main())
