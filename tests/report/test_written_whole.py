"""Kill -9 while `gapbench report` and `gapbench compare` write: every file is the old one or the new one, whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import example_records
from .test_comparison_page import improved, write_run

KILLS = 40
"""Of each command."""

KILLED = """
import os, random, signal, sys, time
from pathlib import Path
command, folder, runs, kills = sys.argv[1], Path(sys.argv[2]), [Path(one) for one in sys.argv[3:5]], int(sys.argv[5])
from gapbench.commands.compare import compare
from gapbench.commands.report import write_results
rng, names = random.Random(3), ("summary.json", "report.html", "report.md")
if command == "compare":
    names = tuple(f"comparison.{ending}" for ending in ("json", "html", "md"))

def write(version):
    if command == "compare":
        compare(*(runs if version else runs[::-1]), out=folder, labels=("first", "second"))
    else:
        draft = folder / "draft"  # the new answers; a run's records may grow between two reports
        draft.write_bytes((runs[version] / "records.jsonl").read_bytes())
        draft.replace(folder / "records.jsonl")
        write_results(folder)

def read():
    return {name: (folder / name).read_bytes() for name in names}

def state(name):
    # Changes as soon as a process begins to write the file, be it in place or beside it.
    drafts = sorted(path.name for path in folder.glob(f".{name}*"))
    found = os.stat(folder / name)
    return drafts, found.st_size, found.st_mtime_ns, found.st_ino

expected = []
for version in (0, 1):
    write(version)
    expected.append(read())
assert all(expected[0][name] != expected[1][name] for name in names)
unfinished = torn = 0
for kill in range(kills):
    for path in folder.glob(".*.draft"):  # of the kill before
        path.unlink()
    name = rng.choice(names + names[:2])  # after the last file all is written, so it is chosen less often
    before = state(name)
    pid = os.fork()
    if not pid:
        write(kill % 2)
        time.sleep(600)
    while state(name) == before:
        assert os.waitpid(pid, os.WNOHANG) == (0, 0), "it ended by itself"
    time.sleep(0.002 * rng.random() ** 3)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    found = read()
    unfinished += found != expected[kill % 2] or bool(list(folder.glob(".*.draft")))
    for name in names:
        if found[name] not in (expected[0][name], expected[1][name]):
            torn += 1
            print("torn:", name, len(found[name]), "bytes", flush=True)
write(1)
assert read() == expected[1], "the next run makes up for all of it"
print("unfinished", unfinished, "torn", torn)
"""


@pytest.mark.evidence
@pytest.mark.parametrize("command", ["report", "compare"])
def test_a_kill_while_it_writes_leaves_the_old_page_or_the_new_one_whole(command: str, tmp_path: Path) -> None:
    before = example_records("signs", 24)
    runs = [
        write_run(tmp_path / name, records, thumbnails=24, model=f"org/{name}")
        for name, records in (("one", before), ("two", [improved(one) for one in before]))
    ]
    folder = tmp_path / "killed"
    write_run(folder, before, thumbnails=24)
    arguments = [command, str(folder), *map(str, runs), str(KILLS)]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *arguments], capture_output=True, text=True, timeout=900, check=False
    )
    print(done.stdout)
    assert done.returncode == 0, done.stderr
    unfinished, torn = map(int, done.stdout.rsplit("unfinished", 1)[1].split(" torn "))
    assert unfinished >= KILLS / 3, "most had written everything before they were killed: the moments prove nothing"
    assert torn == 0
