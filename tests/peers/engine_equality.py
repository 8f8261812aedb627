"""Which families answer alike through transformers, vLLM in process and vLLM's server: reports/engine-equality.

    python tests/peers/engine_equality.py --served glance qwen3_vl       # with .vllm, or GAPBENCH_VLLM_PYTHON

All tiny random checkpoints of tests/tiny_models.py and `glance`, asked as in tests/engines/test_vllm.py: the second
column in process, the third behind a server, where `--served` names them. Prints the rows of a table. Some minutes on
two cores that nobody else uses, half of them for the servers.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import tiny_models
from engines.test_vllm import Reference, asked_of, exceptions, ids_of, refer
from engines.vllm_environment import ask, entry, server
from tiny_models import FAMILIES, build

from gapbench.types import Request

DTYPE = {"qwen3_5": "bfloat16"}
"""Where vLLM's kernels for CPUs want another one than float32; transformers keeps to float32."""


def in_process(models: dict[str, str], folder: Path) -> dict[str, Any]:
    """What vLLM answers, by family. One that failed among others is asked again alone: they may have been at fault."""
    found: dict[str, Any] = {}
    for number, group in enumerate([list(models), *([family] for family in models)]):
        if number == 0 or "raised" in found.get(group[0], {"raised": ""}):
            (folder / f"job {number}").mkdir()
            job = {
                family: entry(models[family], asked_of(family), {"dtype": DTYPE.get(family, "float32")}, ids=True)
                for family in group
            }
            try:
                found |= ask(folder / f"job {number}", job)
            except AssertionError as error:  # it took its process along
                found |= {family: {"raised": str(error)} for family in group}
    return found


def served(model: str, ours: Reference, asked: list[Request]) -> str:
    """The same behind vLLM's server."""
    answers: dict[str, dict[str, Any]] = {}
    with server(model) as url:
        for request in asked:
            shown = ids_of(url, request, ours.engine.chat.escape)
            choice = shown["choices"][0]
            text = ours.answers[request.key].text  # decoding is not what is compared
            answers[str(request.key)] = {
                "ids": choice["token_ids"], "prompt_ids": shown["prompt_token_ids"], "text": text, "error": "",
            }  # fmt: skip
    return cell(ours, asked, answers)


def cell(ours: Reference, asked: list[Request], theirs: dict[str, dict[str, Any]]) -> str:
    """ "14 of 14", or with the margins of those that differ."""
    refused = [request for request in asked if theirs[str(request.key)]["error"]]
    answered = [request for request in asked if request not in refused]
    prompts = sum(ours.engine.prompt_ids(r) != theirs[str(r.key)]["prompt_ids"] for r in answered)
    gaps = [abs(gap) for *_, gap in exceptions(ours, answered, theirs)]
    said = f"{len(answered) - len(gaps)} of {len(asked)}"
    if gaps:
        said += f"; margins {min(gaps):.2g} to {max(gaps):.2g}, median {median(gaps):.2g}"
    if prompts:
        said += f"; {prompts} prompts in other tokens"
    if refused:
        said += f"; {len(refused)} refused ({theirs[str(refused[0].key)]['error'][:100]})"
    return said


def takes(ours: Reference, request: Request) -> bool:
    """Whether transformers takes a request alone: PaliGemma's processor wants an image in each."""
    try:
        return bool(ours.engine.prompt_ids(request)) and not ours.answers[request.key].error
    except ValueError:
        return False


def brief(said: str) -> str:
    """The line of a traceback that says what was wrong."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return next((line for line in reversed(lines) if "Error" in line), [*lines, ""][-1]).replace("|", "/")[:240]


def main() -> None:
    """Command line."""
    gemma = tiny_models._FAMILIES["gemma3"]  # whose tokens for several line breaks vLLM looks up by name
    tiny_models._FAMILIES["gemma3"] = replace(gemma, literals=("\n", "\n\n", "\n\n\n", "\n\n\n\n"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", default=["glance", *FAMILIES])
    parser.add_argument("--served", nargs="*", default=[])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        models = {
            family: family if family == "glance" else str(build(family, Path(folder) / family))
            for family in args.families
        }
        found = in_process(models, Path(folder))
        for family, model in models.items():
            asked = asked_of(family)
            ours = refer(model, asked)
            asked = [request for request in asked if takes(ours, request)]
            theirs = found[family]
            inside = (
                f"not run: {brief(theirs['raised'])}" if "raised" in theirs else cell(ours, asked, theirs["answers"])
            )
            outside = served(model, ours, asked) if family in args.served else ""
            print(f"| {family} | {inside} | {outside} |", flush=True)


if __name__ == "__main__":
    main()
