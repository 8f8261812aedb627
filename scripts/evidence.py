"""Runs what takes long (simulations, kill tests, large runs, real servers, timings) and keeps the output in reports/.

    python scripts/evidence.py                       # all, about three hours on two cores; `make evidence`
    python scripts/evidence.py simulations kills     # some

Each of `JOBS` is a command. Its output goes to `reports/evidence/NAME.txt`, under the command, the date, the hardware
and the exit code, without any path of this machine. One that fails does not stop the others; the exit code is then 1.

Limits: without `.vllm` (see `.ci/vllm-environment`) the tests of vLLM are skipped, which their output says; so are
servers that are not installed (`tests/engines/real_servers.py` says how), `judge` without GAPBENCH_LLAMA_PYTHON (see
`tests/peers/real_judge.py`), and `blink` without GAPBENCH_BLINK, the path of a clone of zeyofu/BLINK_Benchmark.
`near-duplicates` has one photograph without GAPBENCH_PHOTOS (see `tests/peers/near_duplicates.py`).
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "reports" / "evidence"
PYTEST = ("python", "-m", "pytest", "-m", "evidence", "--no-header", "-q", "-rA", "--durations=0", "--show-capture=no")

JOBS: Mapping[str, Sequence[str]] = {
    "rooms": ("python", "scripts/rooms.py"),
    "anatomy": ("python", "tests/analysis/planted.py"),
    "anatomy-at-scale": ("python", "tests/peers/anatomy_at_scale.py"),
    "boards-at-scale": ("python", "tests/peers/boards_at_scale.py"),
    "coverage": ("python", "tests/analysis/coverage.py"),
    "fresh-inputs": (
        "python", "-m", "pytest", "--no-header", "-q", "--hypothesis-profile=default",
        "-m", "not evidence and not gpu and not network and not browser",
        "tests/analysis", "tests/scoring", "tests/views", "tests/data", "tests/judging", "tests/report", "tests/runs",
        "tests/util", "tests/distillation/test_divergence.py", "tests/distillation/test_pairs.py",
    ),
    "simulations": (*PYTEST, "tests/analysis", "tests/commands/test_compare.py"),
    "kills": (
        *PYTEST, "tests/commands/test_measure.py", "tests/commands/test_merge.py", "tests/commands/test_requeued.py",
        "tests/commands/test_sweep.py",
        "tests/report/test_written_whole.py",
    ),
    "kills-training": (*PYTEST, "tests/distillation/test_cli.py", "tests/distillation/test_checkpoints.py"),
    "kills-server": (*PYTEST, "tests/engines/test_server_runs.py"),
    "large-runs": (
        *PYTEST, "tests/runs", "tests/report/test_run_page.py", "tests/report/test_comparison_page.py",
        "tests/engines/test_server_load.py",
    ),
    "training": (
        *PYTEST, "tests/distillation/test_memory.py", "tests/distillation/test_two_processes.py",
        "tests/distillation/test_rollouts.py",
    ),
    "models": (*PYTEST, "tests/glance", "tests/selfcheck"),
    "vllm": (
        *PYTEST, "tests/engines/test_vllm.py", "tests/engines/test_vllm_interrupt.py",
        "tests/engines/test_vllm_serving.py",
        "tests/judging/test_judge_vllm.py", "tests/distillation/vllm",
    ),
    "thinking": ("python", "tests/peers/thinking_templates.py"),
    "one-view": ("python", "tests/peers/faults_of_one_view.py"),
    "servers": ("python", "tests/engines/real_servers.py"),
    "judge": ("python", "tests/peers/real_judge.py"),
    "doctor": ("python", "tests/peers/doctor_cases.py"),
    "near-duplicates": ("python", "tests/peers/near_duplicates.py"),
    "proposals": ("python", "tests/peers/proposals.py"),
    "proposals-large": ("python", "tests/peers/large_proposals.py"),
    "kills-proposals": (*PYTEST, "tests/commands/test_propose.py"),
    "blink": ("python", "tests/peers/blink_outputs.py"),
    "recipes": ("python", "tests/peers/recipes_on_glance.py"),
    "rollouts": ("python", "tests/peers/distillation_step.py", "--prompts", "24", "--steps", "8", "--rounds", "3"),
    "client": ("python", "tests/peers/vllm_bench_serve.py", "--samples", "100", "--rounds", "3"),
}  # fmt: skip


def run(name: str) -> int:
    """Run one job, write its report, and return its exit code."""
    command = [sys.executable if word == "python" else word for word in JOBS[name]]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    print(f"{name}: {' '.join(JOBS[name])}", file=sys.stderr, flush=True)
    start = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    head = (
        f"$ {' '.join(JOBS[name])}\n"
        f"{time.strftime('%Y-%m-%d', time.gmtime())}, {os.cpu_count()} cores of {platform.machine()}, "
        f"Python {platform.python_version()}: exit code {done.returncode} after {time.monotonic() - start:.0f} s\n\n"
    )
    output = done.stdout + (done.stderr if done.returncode else "")
    OUT.mkdir(parents=True, exist_ok=True)
    text = (head + output).replace(f"{ROOT}/", "").replace(str(ROOT), ".").replace(str(Path.home()), "~")
    (OUT / f"{name}.txt").write_text(text, encoding="utf-8")
    return done.returncode


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of the script; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jobs", nargs="*", metavar="JOB", help=f"of {', '.join(JOBS)}; default: all")
    names = parser.parse_args(arguments).jobs or list(JOBS)
    if unknown := [name for name in names if name not in JOBS]:
        parser.error(f"no such job: {', '.join(unknown)}; expected some of {', '.join(JOBS)}")
    failed = [name for name in names if run(name)]
    print("failed: " + ", ".join(failed) if failed else "all passed", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
