"""The loop that everybody writes first: one question at a time through `processor` and `generate`.

    python tests/peers/batch_one.py MODEL_FOLDER QUESTIONS.parquet ANSWERS.json

QUESTIONS has the columns id, image ({"bytes"}) and prompt; `lmms_eval_throughput.py` makes such a file and runs this
script beside the others. Writes answers by id, when asking began and ended (imports and loading left out; seconds of
the system's monotonic clock), and the processor time in between.
"""

from __future__ import annotations

import io
import json
import sys
import time
from pathlib import Path

import pyarrow.parquet
import torch
from PIL import Image

from gapbench.util.torchvision_repair import repair


def main(folder: str, questions: str, out: str, dtype: str = "float32", max_new_tokens: str = "128") -> None:
    """Command line."""
    repair()  # of torchvision from PyPI beside a CPU-only torch; elsewhere it does nothing
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(folder)
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=dtype).eval()
    rows = pyarrow.parquet.read_table(questions).to_pylist()
    answers = {}
    began, busy = time.perf_counter(), time.process_time()
    for row in rows:
        image = Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB")
        content = [{"type": "image", "image": image}, {"type": "text", "text": row["prompt"]}]
        inputs = processor.apply_chat_template(
            [{"role": "user", "content": content}],
            tokenize=True,
            add_generation_prompt=True,
            return_dict=True,
            return_tensors="pt",
        ).to(dtype=model.dtype)
        with torch.inference_mode():
            tokens = model.generate(**inputs, max_new_tokens=int(max_new_tokens), do_sample=False)
        new = tokens[0, inputs["input_ids"].shape[1] :]
        answers[row["id"]] = processor.tokenizer.decode(new, skip_special_tokens=True)
    took = {"began": began, "ended": time.perf_counter(), "busy": time.process_time() - busy}
    Path(out).write_text(json.dumps({**took, "answers": answers}))


if __name__ == "__main__":
    main(*sys.argv[1:])
