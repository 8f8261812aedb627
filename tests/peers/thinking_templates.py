"""Chat templates of every kind, each through transformers, a server that returns raw text, and vLLM's own server.

    python tests/peers/thinking_templates.py          # a table; exit code 1 if anything is not as expected

Columns: what the manifest says of thinking; whether the prompt ends as the template ends it without a thought; whether
vLLM's server, asked by the server engine, reads the very same tokens (its own rendering of the same template); whether
the answer is found after the thought (transformers/server); the rule of an answer that is cut off within its thought.

Limits: the model is tiny and random, so what a model of each kind writes is put in place of its tokens; decoding, chat
templates and servers are real. Needs the vLLM environment (`.ci/vllm-environment`) for its column.
"""

from __future__ import annotations

import base64
import io
import shutil
import sys
import tempfile
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent)]

import httpx2  # noqa: E402
import torch  # noqa: E402
from engines import vllm_environment  # noqa: E402
from engines.chat_templates import CASES, SPECIAL, THOUGHT, Case  # noqa: E402
from engines.loads import server, transformers  # noqa: E402
from engines.stub_server import Stub  # noqa: E402
from engines.test_thinking import IMAGE, TemplateServer, outcome_of, with_template  # noqa: E402
from tiny_models import build  # noqa: E402

from gapbench.types import Answer, Request  # noqa: E402

REQUEST = Request("r", (IMAGE,), "Which colour?")


def by_transformers(folder: Path, case: Case) -> tuple[list[int], str, list[Answer]]:
    """The prompt's ids, its text, and the answers: a whole one and one that is cut off."""
    engine = transformers.load(str(folder))
    ids = engine.prompt_ids(REQUEST)
    tokenizer = engine.loaded.processor.tokenizer
    prompt = tokenizer.decode(ids)
    tokenizer.add_special_tokens({"extra_special_tokens": list(SPECIAL)})
    answers = []
    for said, end in ((case.says.format(THOUGHT), [tokenizer.eos_token_id]), (case.cut_off(), [])):
        written = tokenizer.encode(said, add_special_tokens=False) + end
        engine._run = lambda inputs, keys, written=written: (torch.tensor([written]), [[]])
        answers += [answer for _, answer in engine.generate([REQUEST])]
    return ids, prompt, answers


def by_server(folder: Path, case: Case) -> tuple[str, list[Answer]]:
    """The prompt that the server rendered, and the answers."""
    served = TemplateServer((folder / "chat_template.jinja").read_text(), case)
    answers = []
    with Stub(served) as stub:
        engine = server.load(str(folder), base_urls=[stub.url])
        for served.finish in ("stop", "length"):
            answers += [answer for _, answer in engine.generate([REQUEST])]
    return served.prompts[0], answers


def by_vllm(url: str, folder: Path) -> list[int]:
    """The ids that vLLM's server reads, for the fields that the server engine sends."""
    engine = server.load(str(folder), base_urls=[url])
    stored = io.BytesIO()
    IMAGE.save(stored, "PNG")
    address = f"data:image/png;base64,{base64.b64encode(stored.getvalue()).decode()}"
    content = [{"type": "image_url", "image_url": {"url": address}}, {"type": "text", "text": REQUEST.prompt}]
    asked = {
        **engine.client.settings, "model": "tested", "max_tokens": 1, "return_token_ids": True,
        "chat_template": (folder / "chat_template.jinja").read_text(),
        "messages": [{"role": "user", "content": content}],
    }  # fmt: skip
    ids: list[int] = httpx2.post(f"{url}/chat/completions", json=asked, timeout=120).json()["prompt_token_ids"]
    return ids


def row(name: str, case: Case, folder: Path, url: str | None) -> tuple[Any, ...]:
    """One line of the table, its last entry whether all is as expected."""
    ids, prompt, ours = by_transformers(folder, case)
    rendered, theirs = by_server(folder, case)
    ends = prompt.endswith(case.prompt_end) and rendered.endswith(case.prompt_end)
    same = None if url is None else by_vllm(url, folder) == ids
    found = [outcome_of(answers[0])[0] for answers in (ours, theirs)]
    cut = [outcome_of(answers[1])[1] for answers in (ours, theirs)]
    thinks = "{}" in case.says
    good = ends and same is not False and found == ["right"] * 2 and (not thinks or set(cut) == {"thought-cut-off"})
    rule = "/".join(dict.fromkeys(cut)) if thinks else "-"
    vllm = {True: "equal", False: "DIFFERENT", None: "not run"}[same]
    return name, case.thinking, "yes" if ends else "NO", vllm, "/".join(found), rule, good


def main() -> int:
    """Print the table and return the exit code."""
    warnings.filterwarnings("ignore", message=".*lists no model.*")
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        plain = build("qwen3_vl", Path(temporary) / "plain")
        url = None
        if (vllm_environment.ROOT / ".vllm" / "installed").exists():
            url = stack.enter_context(vllm_environment.server(str(plain), "--trust-request-chat-template"))
        print(
            "| template | thinking | prompt | vLLM's tokens | answer (transformers/server) | cut off in its thought |"
        )
        print("|---|---|---|---|---|---|")
        bad = 0
        for number, (name, case) in enumerate(CASES.items()):
            folder = with_template(plain, Path(temporary) / str(number), case)
            *cells, good = row(name, case, folder, url)
            print("| " + " | ".join(map(str, cells)) + " |", flush=True)
            bad += not good
            shutil.rmtree(folder)
        print(f"\n{len(CASES) - bad} of {len(CASES)} as expected")
    return bad > 0


if __name__ == "__main__":
    sys.exit(main())
