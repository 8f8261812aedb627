"""A job queued again while the first still runs: the second is refused at once, and nothing is answered twice."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from helpers import write_benchmark

import gapbench
from gapbench.runs import records

QUEUED_TWICE = """
import contextlib, io, os, random, sys, time
import gapbench
from gapbench.engines import loading, transformers
from gapbench.cli.app import app, run

data, out, moment = sys.argv[1], sys.argv[2], float(sys.argv[3])
command = ["gapbench", "measure", "glance", "-b", data, "--out", out, "-q", "--max-new-tokens", "4", "--no-selfcheck"]
sys.argv = command

def start():
    pid = os.fork()
    if pid == 0:
        with contextlib.redirect_stdout(io.StringIO()):
            code = run(app)
        sys.stderr.flush()
        os._exit(code)
    return pid

first = start()
time.sleep(moment)
second = start()
for pid in (second, first):
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


@pytest.mark.evidence
def test_a_job_queued_again_at_20_random_moments_changes_nothing(tmp_path: Path) -> None:
    mine = write_benchmark(tmp_path / "data", questions=60)
    whole = gapbench.measure("glance", str(mine), out=tmp_path / "whole", max_new_tokens=4, selfcheck=False)
    wanted = sorted(records.key(row) for row in records.read(whole.path))
    rng, codes = random.Random(5), Counter[tuple[int, int]]()
    for number in range(20):
        out = tmp_path / f"run{number}"
        moment = 8 * rng.random() ** 2  # most while the first loads its model and answers, some after its end
        command = [sys.executable, "-c", QUEUED_TWICE, str(mine), str(out), str(moment)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        second, first = map(int, done.stdout.split())
        codes[first, second] += 1
        print(f"{moment:.2f} s: first {first}, second {second}: {done.stderr.strip().splitlines()[-1:]}")
        assert first == 0 or second == 0, done.stderr
        assert 1 not in (first, second), done.stderr
        if 2 in (first, second):
            assert "another process is writing it: process" in done.stderr
        assert sorted(records.key(row) for row in records.read(out)) == wanted, "an answer is lost or lies twice"
        assert gapbench.load_run(out).summary == whole.summary
    assert codes[0, 2] >= 10, "the moments prove nothing"
