"""The window stage of `gapbench propose` on images of 4K, through a scripted server: memory, throughput, tokens.

    python tests/peers/large_proposals.py --images 1000      # about an hour on two cores
    python tests/peers/large_proposals.py                    # 40 images

The server finds nothing in any window, and counts a token for 32 x 32 px as those of Qwen3-VL's family do. Memory is
that of this process, server included, after each tenth of the images; it must not grow after the first tenth.
"""

from __future__ import annotations

import argparse
import base64
import json
import struct
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from engines.stub_server import HttpRequest, Response, Stub

import gapbench
from gapbench.util.terminal import say

SIZE = (3840, 2160)
GROWTH = 1.15
"""Most memory at the end, as a multiple of that after the first tenth."""


def resident() -> int:
    """MiB of this process in memory now."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmRSS:")[1].split()[0]) // 1024


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--set", nargs="*", default=[], dest="settings", help="KEY=VALUE of proposing")
    given = parser.parse_args(arguments)
    count = given.images
    seen, tokens, marks = [0], [0], list[int]()

    def reply(request: HttpRequest, number: int) -> Response:
        width, height = struct.unpack(">II", base64.b64decode(request.urls[0].partition(",")[2][:64])[16:24])
        used = -(-width // 32) * -(-height // 32) + len(request.prompt) // 3
        seen[0] += 1
        tokens[0] += used
        choice = {"message": {"role": "assistant", "content": "[]"}, "finish_reason": "stop"}
        return Response(body=json.dumps({"choices": [choice], "usage": {"prompt_tokens": used}}).encode())

    with TemporaryDirectory() as temporary:
        folder = Path(temporary) / "images"
        folder.mkdir()
        noise = np.random.default_rng(0).integers(0, 256, (SIZE[1] // 8, SIZE[0] // 8, 3), dtype=np.uint8)
        Image.fromarray(noise).resize(SIZE, Image.Resampling.BICUBIC).save(folder / "0.jpg", quality=90)
        for number in range(1, count):
            (folder / f"{number}.jpg").symlink_to(folder / "0.jpg")
        started = time.monotonic()
        with Stub(reply=reply) as stub:
            stub.keep = False
            for tenth in range(1, 11):
                made = gapbench.propose(
                    str(folder), "stub", Path(temporary) / "data.jsonl", engine="server", base_urls=[stub.url],
                    limit=max(1, count * tenth // 10), settings=["least_rows=0", *given.settings],
                )  # fmt: skip
                marks.append(resident())
                say(f"{tenth}/10: {time.monotonic() - started:.0f} s, {marks[-1]} MiB", sys.stderr)
        seconds = time.monotonic() - started
    projected = made.card["tokens"]["windows_of_an_image"]
    rates = f"{seconds / count:.2f} s an image, {seen[0] / seconds:.0f} windows a second"
    say(f"{count} images of {SIZE[0]} x {SIZE[1]} px: {seen[0] / count:.0f} windows an image, {rates}", sys.stdout)
    say(f"prompt tokens an image: {tokens[0] / count:,.0f}, projected {projected:,}", sys.stdout)
    say(f"MiB after each tenth of the images: {', '.join(map(str, marks))}", sys.stdout)
    flat = marks[-1] <= GROWTH * marks[0] or marks[-1] <= GROWTH * max(marks[:5])
    say("memory is flat" if flat else "memory grows", sys.stdout)
    return 0 if flat else 1


if __name__ == "__main__":
    sys.exit(main())
