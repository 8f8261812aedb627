"""Many tiny requests through the server engine, against a stub in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from engines.loads import server
from gapbench.types import Request

pytestmark = pytest.mark.evidence


@contextmanager
def stub(delay: float) -> Iterator[str]:
    command = [sys.executable, str(Path(__file__).with_name("stub_server.py")), "--delay", str(delay)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def stats(url: str) -> dict[str, int]:
    with urllib.request.urlopen(url.removesuffix("/v1") + "/stats") as response:  # noqa: S310  # loopback
        counts: dict[str, int] = json.load(response)
        return counts


@pytest.mark.parametrize("delay", [0.0, 0.1])
def test_over_300_requests_a_second_from_one_process(delay: float) -> None:
    with stub(delay) as url:
        engine = server.load("stub", base_urls=[url])
        started = time.process_time()  # our own core's seconds: on a busy machine the clock on the wall counts others
        answers = sum(not a.error for _, a in engine.generate(Request(i, (), f"q{i}") for i in range(2500)))
        rate = answers / (time.process_time() - started)

    assert answers == 2500
    assert rate > 300


def test_50_000_requests_none_lost_none_sent_twice_in_flat_memory() -> None:
    process, memory, got = psutil.Process(), [], bytearray(50_000)
    with stub(0.01) as url:
        engine = server.load("stub", base_urls=[url])
        began, started = time.perf_counter(), time.process_time()
        for count, (key, answer) in enumerate(engine.generate(Request(i, (), f"q{i}") for i in range(50_000)), 1):
            assert answer.text == f"echo: q{key}"
            assert isinstance(key, int)
            got[key] += 1
            if count % 5000 == 0:
                memory.append(process.memory_info().rss // 1e6)
        rate, walls = 50_000 / (time.process_time() - started), 50_000 / (time.perf_counter() - began)
        counts = stats(url)

    print(f"{walls:.0f} requests/s, {rate:.0f} per second of CPU, {engine.client.limit.highest} at once; MB: {memory}")
    assert set(got) == {1}
    assert counts == {"asked": 50_000, "prompts": 50_000}
    assert engine.client.tries == 50_000
    assert memory[-1] - memory[0] < 5
    assert rate > 300
