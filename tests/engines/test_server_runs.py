"""Whole runs through a server, and what may happen to one: kills of either side, faults on the way, keys, Ctrl-C.

A run that was disturbed ends with the very summary of one that was not, or says what to do.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import edit, write_benchmark

import gapbench
from engines.fault_proxy import FAULTS, POISON, FaultProxy
from engines.stub_server import HttpRequest, Response, Stub, chat, error
from gapbench.errors import ModelError, RunError

TESTS = Path(__file__).parents[1]
KEY = 'sk-planted-0123456789/abc+"def'


def reply(request: HttpRequest, number: int = 0) -> Response:
    """An answer that the question and its images decide: a letter, yes or no, or nothing that can be read."""
    drawn = hashlib.sha256(json.dumps(request.json["messages"]).encode()).digest()[0]
    words = ("A", "B", "C", "D") if "letter" in request.prompt else ("yes", "no")
    return chat("I cannot tell." if drawn < 20 else words[drawn % len(words)])


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return write_benchmark(tmp_path / "data")


def measure(url: str | list[str], mine: Path, out: Path, **changes: Any) -> gapbench.Run:
    settings: dict[str, Any] = {"engine": "server", "base_urls": [url] if isinstance(url, str) else url,
                                "selfcheck": False}  # fmt: skip
    return gapbench.measure("stub", [str(mine)], out=out, **{**settings, **changes})


def summary(run: gapbench.Run | Path) -> bytes:
    return ((run if isinstance(run, Path) else run.path) / "summary.json").read_bytes()


def keys(run: gapbench.Run) -> Counter[Any]:
    return Counter(run.frame()[["benchmark", "sample", "view", "repeat"]].itertuples(index=False, name=None))


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "gapbench", *map(str, arguments)]


# --- a run like any other --------------------------------------------------------------------------------------


def test_a_run_through_a_server_is_complete_and_says_who_answered(mine: Path, tmp_path: Path) -> None:
    with Stub(reply) as stub:
        run = measure(stub.url, mine, tmp_path / "run", concurrency=3)
        url = stub.url
    assert keys(run) == {("mine", f"q{i}", view, 0): 1 for i in range(12) for view in ("full", "crop")}
    assert len(stub.requests) == 24
    assert (run.manifest["engine"], run.manifest["base_urls"]) == ("server", [url])
    assert run.manifest["servers"][0]["models"][0]["id"] == "stub"
    assert run.manifest["sessions"][0]["throughput"]["waited_for_images"] is not None
    frame = run.frame().set_index(["sample", "view"])
    assert frame.loc[("q0", "full"), "sent_size"] == (140, 100)
    assert set(frame["outcome"]) <= {"right", "wrong", "unparsed"}


def test_the_order_of_answers_and_the_number_of_servers_do_not_show(mine: Path, tmp_path: Path) -> None:
    def jumbled(request: HttpRequest, number: int) -> Response:
        time.sleep(0.02 * random.random())
        return reply(request)

    with Stub(reply) as one, Stub(jumbled) as other:
        alone = measure(one.url, mine, tmp_path / "alone", concurrency=1)
        both = measure([one.url, other.url], mine, tmp_path / "both", concurrency=8)
    assert summary(alone) == summary(both)
    assert len(other.requests) > 0


def test_what_is_odd_about_a_server_is_said_without_a_line_of_code(mine: Path, tmp_path: Path) -> None:
    with Stub() as gone:
        pass
    with Stub(reply) as stub:
        given = ["--engine", "server", "--base-url", stub.url, "--base-url", gone.url, "--no-selfcheck", "--quiet"]
        command_line = command("measure", "stub", "-b", mine, "--out", tmp_path / "run", *given)
        done = subprocess.run(command_line, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert f"gapbench: warning: --base-url: not reached so far: {gone.url}" in done.stderr
    assert "UserWarning" not in done.stderr


def test_stored_bytes_are_what_a_server_gets_of_the_full_view(mine: Path, tmp_path: Path) -> None:
    import base64

    with Stub(reply) as stub:
        measure(stub.url, mine, tmp_path / "run", limit=1)
    sent = {base64.b64decode(uri.partition(",")[2]) for request in stub.requests for uri in request.urls}
    assert (mine.parent / "scene 0.png").read_bytes() in sent
    assert len(sent) == 2


def test_a_run_goes_on_at_another_address_but_not_with_another_engine_or_model(mine: Path, tmp_path: Path) -> None:
    with Stub(reply) as one, Stub(reply) as other:
        measure(one.url, mine, tmp_path / "run", limit=5, concurrency=2)
        longer = measure(other.url, mine, tmp_path / "run", concurrency=7)
        assert len(longer.frame()) == 24
        assert len(other.requests) == 14
        assert summary(longer) == summary(measure(one.url, mine, tmp_path / "whole"))
        with (
            pytest.warns(UserWarning, match="lists no model another, but stub"),
            pytest.raises(RunError, match=r"started with model 'stub', and now it is 'another'"),
        ):
            gapbench.measure("another", [str(mine)], out=tmp_path / "run", engine="server", base_urls=[one.url])
        with pytest.raises(RunError, match=r"started with --engine 'server', and now it is 'transformers'"):
            gapbench.measure("glance", [str(mine)], out=tmp_path / "run", selfcheck=False)
        assert summary(longer) == summary(tmp_path / "run")


def test_shards_through_servers_merge_to_the_very_summary(mine: Path, tmp_path: Path) -> None:
    with Stub(reply) as one, Stub(reply) as other:
        whole = measure(one.url, mine, tmp_path / "whole")
        for number, stub in ((1, one), (2, other), (3, one)):
            measure(stub.url, mine, tmp_path / f"shard{number}", shard=f"{number}/3")
    merged = gapbench.merge([tmp_path / f"shard{n}" for n in (3, 1, 2)], tmp_path / "merged")
    assert summary(merged) == summary(whole)
    assert merged.manifest["fingerprint"] == whole.manifest["fingerprint"]


# --- kills -----------------------------------------------------------------------------------------------------

KILLED = """
import os, random, signal, sys, threading, time
sys.path.insert(0, sys.argv[1])
import torch, pandas, scipy.stats, matplotlib, httpx2   # loaded once; every child is a fork
import gapbench, gapbench.errors, gapbench.commands.measure, gapbench.engines.server, gapbench.report
import gapbench.analysis.summary
from engines.stub_server import Stub
from engines.test_server_runs import reply

data, out, port, seed = sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
rng = random.Random(seed)

def fork(work):
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except gapbench.errors.GapbenchError as error:   # no server at the moment it was looked for
            print(error, flush=True)
            os._exit(2)
        os._exit(0)
    return pid

def serve():
    with Stub(reply, delay=0.03, port=port):
        threading.Event().wait()

def ask():
    gapbench.measure("stub", [data], out=out, engine="server", base_urls=[f"http://127.0.0.1:{port}"], concurrency=6,
                     selfcheck=False)

def answered():
    path = out + "/records.jsonl"
    return open(path, "rb").read().count(b"\\n") if os.path.exists(path) else 0

def killed(pid):
    os.kill(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1] == signal.SIGKILL

def over(pid):
    return os.waitpid(pid, os.WNOHANG)[0] == pid

server, client = fork(serve), None
deaths = {"client": 0, "server": 0}
for turn in range(10):
    if client is None:
        client = fork(ask)
    goal, patience = answered() + rng.randint(0, 12), time.monotonic() + 20
    while answered() < goal and time.monotonic() < patience:
        time.sleep(0.001)
    time.sleep(0.1 * rng.random() ** 2)
    if turn % 2:
        deaths["server"] += killed(server)
        time.sleep(rng.random())
        server = fork(serve)
    else:
        deaths["client"] += killed(client)
        client = None
    print("a", "server" if turn % 2 else "client", "was killed at", answered(), flush=True)
while client is None or os.waitpid(client, 0)[1] != 0:
    client = fork(ask)
killed(server)
print("deaths", deaths["client"], deaths["server"])
"""


@pytest.mark.evidence
def test_client_and_server_killed_at_random_moments_end_as_if_nothing_had_happened(tmp_path: Path) -> None:
    mine = write_benchmark(tmp_path / "long", questions=60)
    with Stub(reply) as stub:
        whole = measure(stub.url, mine, tmp_path / "whole")
        port = stub.port
    command_line = [sys.executable, "-c", KILLED, TESTS, mine, tmp_path / "killed", port, 1]
    done = subprocess.run([*map(str, command_line)], capture_output=True, text=True, timeout=300, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("deaths 5 5\n"), "a side had ended before it was killed: the moments prove nothing"
    killed = gapbench.load_run(tmp_path / "killed")
    assert keys(killed) == keys(whole)
    assert summary(killed) == summary(whole)
    assert killed.manifest["fingerprint"] == whole.manifest["fingerprint"]


@pytest.mark.evidence
def test_vllms_own_server_and_its_client_killed_in_mid_run_end_as_if_nothing_had_happened(tmp_path: Path) -> None:
    from engines import vllm_environment

    port = vllm_environment.free_port()
    rest = [
        "--engine",
        "server",
        "--base-url",
        f"http://127.0.0.1:{port}",
        "--max-new-tokens",
        8,
        "--quiet",
        "--no-selfcheck",
    ]
    out, path = tmp_path / "killed", tmp_path / "killed" / "records.jsonl"

    def client(folder: Path) -> subprocess.Popen[str]:
        command_line = command("measure", "glance", "-b", "signs:samples=150", "--out", folder, *rest)
        return subprocess.Popen(command_line, stderr=subprocess.PIPE, text=True)

    def answered() -> int:
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def wait_for(count: int, process: subprocess.Popen[str]) -> None:
        while answered() < count:
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.005)

    server = vllm_environment.start("glance", port, "--served-model-name", "glance")
    try:
        first = client(out)
        wait_for(40, first)
        first.kill()
        first.wait()
        assert answered() < 300
        second = client(out)
        wait_for(120, second)
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        assert answered() < 300
        time.sleep(2)
        assert second.poll() is None, "it waits for its server"
        server = vllm_environment.start("glance", port, "--served-model-name", "glance")
        assert second.wait(240) == 0, second.stderr and second.stderr.read()
        whole = client(tmp_path / "whole")
        assert whole.wait(240) == 0, whole.stderr and whole.stderr.read()
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    killed = gapbench.load_run(out)
    assert keys(killed) == keys(gapbench.load_run(tmp_path / "whole"))
    assert killed.summary["benchmarks"]["signs"]["gap"]["estimate"] > 0.1, "it reads signs, and crops better"
    assert killed.summary["benchmarks"]["signs"]["gap"]["dropped"] == 0
    assert summary(out) == summary(tmp_path / "whole")


# --- faults on the way -----------------------------------------------------------------------------------------


def test_faults_never_become_answers_and_what_failed_is_asked_again_on_request(mine: Path, tmp_path: Path) -> None:
    edit(mine, 5, bbox=None)  # fails for good: it has no crop
    rng = random.Random(4)
    faults = [name for name in FAULTS if name not in ("never", "slow loris")]

    def some(number: int) -> str:
        return rng.choice([*faults, "late", "lost answer"]) if rng.random() < 0.4 else ""

    def sometimes(request: HttpRequest, number: int) -> Response:
        too_long = "Is the small patch red" in request.prompt
        return error(400, f"{POISON}: the prompt is longer than max_model_len") if too_long else reply(request)

    with Stub(sometimes) as stub:
        with FaultProxy(stub, some) as proxy:
            run = measure(proxy.url, mine, tmp_path / "run", concurrency=8, backoff=0.05)
        assert sum(proxy.done[name] for name in faults) > 5
        frame = run.frame()
        assert len(frame) == sum(keys(run).values()) == 24
        assert not frame["output"].str.contains("POISON").any()
        failed = frame[frame["outcome"] == "failed"]
        assert set(failed["sample"]) == {"q1", "q5", "q9"}
        assert len(failed) == 5
        entry = run.summary["benchmarks"]["mine"]
        assert (entry["gap"]["dropped"], entry["without_evidence"]) == (2, 1)
        assert "max_model_len" in failed.set_index(["sample", "view"]).loc[("q1", "full"), "reason"]

        stub.reply = reply
        stub.requests.clear()
        again = measure(stub.url, mine, tmp_path / "run")
        assert not stub.requests, "what failed is an outcome, and is not asked again unasked"
        assert summary(again) == summary(run)

        retried = measure(stub.url, mine, tmp_path / "run", retry_failed=True)
        assert Counter(request.prompt for request in stub.requests) == {
            request.prompt: 4 for request in stub.requests if "Is the small patch red" in request.prompt
        }
        assert len(stub.requests) == 4, "q1 and q9 in both views; q5 has nothing to be sent"
        assert summary(retried) == summary(measure(stub.url, mine, tmp_path / "undisturbed"))
    assert list(retried.frame().query("outcome == 'failed'")["sample"]) == ["q5"]


def test_a_retry_that_finds_no_server_loses_nothing(mine: Path, tmp_path: Path) -> None:
    with Stub(lambda request, number: error(400, "no") if number == 3 else reply(request)) as stub:
        run = measure(stub.url, mine, tmp_path / "run")
        url = stub.url
    before = (run.path / "records.jsonl").read_bytes()
    with pytest.raises(ModelError, match="No server was reached"):
        measure(url, mine, tmp_path / "run", retry_failed=True)
    assert (run.path / "records.jsonl").read_bytes() == before


# --- keys ------------------------------------------------------------------------------------------------------


def parrot(request: HttpRequest) -> str:
    """What a careless server says."""
    return f"You sent {request.headers.get('authorization')}, or {json.dumps(KEY)}"


CARELESS: dict[str, Callable[[HttpRequest, int], Response]] = {
    "answers": lambda request, number: chat(parrot(request)) if number % 2 else error(400, parrot(request)),
    "refused key": lambda request, number: chat("A") if number < 5 else error(401, parrot(request)),
    "an unexpected error": lambda request, number: chat("A"),
}


@pytest.mark.parametrize("what", CARELESS)
def test_a_planted_key_is_in_no_file_and_on_no_terminal(what: str, mine: Path, tmp_path: Path) -> None:
    listed = Response(body=json.dumps({"data": [{"id": "stub", "root": KEY}], "version": KEY}).encode())
    out = tmp_path / "run"
    start = "import sys; from gapbench.__main__ import main\n"
    if what == "an unexpected error":
        start += "from gapbench.runs import session\ndef to_record(*given):\n    raise RuntimeError('a defect')\n"
        start += "session.to_record = to_record\n"
    arguments = ["measure", "stub", "-b", mine, "--engine", "server", "--api-key-env", "PLANTED_KEY", "--no-selfcheck"]
    with Stub(CARELESS[what], models=listed) as stub:
        command_line = [
            sys.executable,
            "-c",
            f"{start}main()",
            *arguments,
            "--base-url",
            stub.url,
            "--out",
            out,
            "--debug",
        ]
        done = subprocess.run(
            [*map(str, command_line)],
            env={**os.environ, "PLANTED_KEY": KEY},
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert stub.requests[0].headers["authorization"] == f"Bearer {KEY}", "it is used"

    completes = what == "answers"
    assert done.returncode == (0 if completes else 1), done.stderr
    assert ("Traceback" in done.stderr) != completes
    seen = {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert {"run.json", "records.jsonl"} <= set(seen)
    assert not completes or {"summary.json", "report.html", "report.md"} <= set(seen)
    everything = b"\n".join([*seen.values(), done.stdout.encode(), done.stderr.encode(), *map(str.encode, seen)])
    assert b"planted-0" not in everything
    assert b"0123456789" not in everything
    assert what == "an unexpected error" or b"[API key]" in everything


# --- the command line ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("--engine server", ["--base-url", "http://localhost:8000"]),
        ("--engine server --base-url localhost:8000", ["--base-url", "http://localhost:8000/v1"]),
        ("--engine server --base-url http://127.0.0.1:9", ["No server was reached", "127.0.0.1:9", "--base-url"]),
        ("--engine server --base-url http://u:planted@127.0.0.1:9", ["--api-key-env"]),
        ("--engine server --base-url http://127.0.0.1:9 --concurrency 0", ["--concurrency 0", "auto"]),
        ("--engine server --base-url http://127.0.0.1:9 --concurrency many", ["--concurrency many", "auto"]),
        ("--engine server --base-url http://127.0.0.1:9 --api-key-env NOT_SET", ["--api-key-env", "export"]),
        ("--engine server --base-url http://127.0.0.1:9 --api-key-env sk-planted", ["--api-key-env", "not shown"]),
        ("--engine server --base-url http://127.0.0.1:9 --dtype float16", ["--dtype", "The server decides"]),
        ("--engine server --base-url http://127.0.0.1:9 --processor a=1", ["--processor", "The server decides"]),
        ("--engine server --base-url http://127.0.0.1:9 --batch-size 3", ["--batch-size", "transformers"]),
        ("--engine nonsense", ["--engine nonsense", "auto, transformers, vllm or server"]),
        ("--engine auto --base-url http://127.0.0.1:9 --batch-size 2", ["--base-url", "it is for server"]),
        ("--engine transformers --tensor-parallel 2", ["--tensor-parallel-size", "it is for vllm"]),
        ("--engine transformers --engine-args max_model_len=5", ["--engine-args", "it is for vllm"]),
        ("--engine vllm --engine-args foo", ["--engine-args 'foo'", "KEY=VALUE"]),
        ("--base-url http://127.0.0.1:9", ["No server was reached", "127.0.0.1:9", "--base-url"]),
        ("--engine transformers --concurrency 4", ["--concurrency", "it is for server"]),
        ("--engine transformers --api-key-env sk-planted", ["--api-key-env", "it is for server"]),
        ("--shard 3/2", ["--shard 3/2"]),
    ],
)
def test_what_makes_no_sense_ends_with_2_and_says_what_to_do(
    given: str, said: list[str], mine: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from gapbench.cli import app as cli

    out = tmp_path / "run"
    typed = ["gapbench", "measure", "glance", "-b", str(mine), "--out", str(out), *given.split()]
    monkeypatch.setattr(sys, "argv", typed)
    assert cli.run(cli.app) == 2
    printed = capfd.readouterr()
    *before, message = printed.err.strip().splitlines()
    chosen = ["--engine server (auto: it is the engine that has --base-url)"] if given.startswith("--base-url") else []
    assert before == chosen, printed.err
    assert message.startswith("gapbench: ")
    for words in said:
        assert words in message
    assert "planted" not in message
    assert not out.exists()


def test_ctrl_c_ends_a_run_that_waits_for_a_server(tmp_path: Path) -> None:
    mine, out = write_benchmark(tmp_path / "long", questions=60), tmp_path / "run"
    with Stub(reply) as stub:
        command_line = command("measure", "stub", "-b", mine, "--out", out, "--engine", "server",
                               "--base-url", stub.url, "--no-selfcheck", "--concurrency", 4)  # fmt: skip
        process = subprocess.Popen(
            command_line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        path = out / "records.jsonl"
        while process.poll() is None and not (path.exists() and path.stat().st_size > 5_000):
            stub.delay = 0.05
            time.sleep(0.01)
        stub.delay = 60
        time.sleep(0.5)
        started = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        took = time.monotonic() - started

    assert process.returncode == 130, errors
    assert took < 10
    assert "run the same command again" in errors
    assert "Traceback" not in errors
    kept = path.read_bytes()
    assert kept.endswith(b"\n")
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    throughput = json.loads((out / "run.json").read_text())["sessions"][0]["throughput"]
    assert throughput["answers"] == kept.count(b"\n") < 120
