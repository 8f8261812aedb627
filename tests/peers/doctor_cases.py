"""What `gapbench doctor` prints: for the embedded model, tiny families, a model of real size without weights, a broken
server and a judge that always says yes; and how its memory compares with what a real pass takes.

    python tests/peers/doctor_cases.py          # two minutes

Each case has the seconds before weights were read, and altogether. The last table has, for each tiny family, the peak
of a dry run and that of PyTorch's profiler for the same prompt, without weights and inputs. A CPU's kernels take more
than a GPU's: matrices of scores where a mask is given, and float32 copies for layers of experts.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "gpu")]

import sizes  # noqa: E402
import tiny_models  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from engines.stub_server import Stub, chat  # noqa: E402
from PIL import Image  # noqa: E402
from preflight.counting import profiled  # noqa: E402

from gapbench.commands.doctor import doctor  # noqa: E402
from gapbench.engines import models  # noqa: E402
from gapbench.engines.chat import make_chat, place  # noqa: E402
from gapbench.judging import Judge  # noqa: E402
from gapbench.preflight.dry_run import dry_run, without_data  # noqa: E402

PHOTOGRAPHS = ((1344, 1344), (3840, 2160), (3840, 2160), (7680, 4320))


def real_size(size: str, folder: Path) -> str:
    """Qwen3-VL at a published size, without weights."""
    scale = dataclasses.replace(sizes.REAL, device="meta")
    tiny_models.randomise = lambda *_: None  # there is nothing to draw
    loaded = sizes.build(scale, size)
    loaded.model.config.save_pretrained(folder)
    loaded.processor.save_pretrained(folder)
    return str(folder)


def photographs(folder: Path) -> str:
    """Own data with images of the sizes of photographs."""
    rows = []
    for number, size in enumerate([*PHOTOGRAPHS, *PHOTOGRAPHS[:1] * 6]):  # enough to hold some out of a training
        Image.new("RGB", size, (90, 120, 150)).save(folder / f"{number}.jpg")
        rows.append({"id": str(number), "image": f"{number}.jpg", "question": "Which letter is on the sign?",
                     "answer": "K", "bbox": [100, 100, 180, 160], "bbox_format": "xyxy"})  # fmt: skip
    (folder / "photographs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return str(folder / "photographs.jsonl")


def show(title: str, *arguments: Any, **settings: Any) -> None:
    """One case."""
    found = doctor(*arguments, **settings)
    print(f"## {title}\n\n{found.text()}\n")
    print(f"{found.seconds_before_weights} s before weights, {found.seconds} s altogether\n", flush=True)


def peaks(work: Path) -> Iterator[str]:
    """A line for each family."""
    for family in tiny_models.FAMILIES:
        folder = str(tiny_models.build(family, work / f"{family} again"))
        dtype = "bfloat16" if family in ("glm4v_moe", "kimi_k25") else "float32"  # experts have no kernel without data
        bare = models.load_without_weights(folder, dtype=dtype)
        inputs = make_chat(bare).batch([((Image.new("RGB", (700, 500)),), "Which letter?")])
        placed = without_data(inputs, bare.model.dtype)
        with dry_run() as memory, torch.no_grad():
            bare.model(**placed, use_cache=True, logits_to_keep=1)
        model = models.load(folder, dtype=dtype).model
        with profiled() as real, torch.no_grad():
            model(**place(inputs, model), use_cache=True, logits_to_keep=1)
        yield f"{family:16} {memory.peak:>10,} {real.bytes:>10,}  {memory.peak / real.bytes:.2f}  {dtype}"


def main() -> None:
    """All cases."""
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        data = photographs(work)
        show("glance on signs", "glance", "signs")
        for family in ("qwen3_vl", "llava", "gemma3"):
            model = str(tiny_models.build(family, work / family))
            show(f"a tiny {family}", model, "signs", limit=20, max_new_tokens=8)
        real = real_size("4B", work / "4B")
        show("Qwen3-VL-4B without weights, photographs", real, data, dtype="bfloat16")
        show("the same, recipe lora-1gpu in bfloat16", real, data, recipe=lora(work))
        show("a broken server", "m", "signs", engine="server", base_urls=("http://127.0.0.1:9",), limit=8)
        with Stub(lambda request, number: chat('{"verdict": "yes"}')) as stub:
            show("a judge that always says yes", "glance", judge=Judge(stub.url, "stub"))
        print("## Bytes at the peak of reading one prompt: dry run, real on a CPU, ratio\n")
        for line in peaks(work):
            print(line, flush=True)


def lora(work: Path) -> Path:
    """The recipe lora-1gpu, in bfloat16 on a CPU too."""
    from gapbench.distillation import recipe as recipes

    file = work / "lora.yaml"
    file.write_text(recipes.dump(recipes.load("lora-1gpu", ["precision=bf16"])))
    return file


if __name__ == "__main__":
    main()
