"""One process writes a run at a time; the second is refused at once and told who holds it."""

from __future__ import annotations

import errno
import multiprocessing
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from filelock import FileLock

from gapbench.errors import RunError
from gapbench.runs.lock import hold

SECOND = """
import sys
from pathlib import Path
from gapbench.errors import RunError
from gapbench.runs.lock import hold
try:
    with hold(Path(sys.argv[1]), "the second", sys.argv[2]):
        print("held")
except RunError as error:
    print(error)
"""


def second(folder: Path, file: str = "") -> str:
    command = [sys.executable, "-c", SECOND, str(folder), file]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


@pytest.mark.parametrize("file", ["", "regions.jsonl"])
def test_a_second_process_is_refused_and_told_who_is_first(file: str, tmp_path: Path) -> None:
    with hold(tmp_path / "run", "gapbench measure glance", file):
        said = second(tmp_path / "run", file)
        assert f"another process is writing it: process {os.getpid()}, since 2" in said
        assert "(gapbench measure glance). Wait until it is done, or choose another --out." in said
        assert second(tmp_path / "run", "other.jsonl") == "held\n", "another file has another lock"
    assert second(tmp_path / "run", file) == "held\n"


def test_a_second_thread_is_refused_too(tmp_path: Path) -> None:
    said: list[str] = []

    def work() -> None:
        try:
            with hold(tmp_path / "run", "second"):
                said.append("held")
        except RunError as error:
            said.append(str(error))

    with hold(tmp_path / "run", "first"):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert "(first)" in said[0]


def test_the_lock_ends_with_its_process(tmp_path: Path) -> None:
    def die(place: Path) -> None:
        with hold(place, "dies"):
            os._exit(1)

    process = multiprocessing.get_context("fork").Process(target=die, args=(tmp_path / "run",))
    process.start()
    process.join()
    with hold(tmp_path / "run", "next"):
        pass


def test_a_refused_process_leaves_the_message_of_the_first(tmp_path: Path) -> None:
    with hold(tmp_path / "run", "first"):
        assert second(tmp_path / "run") == second(tmp_path / "run")


def test_a_folder_in_which_nothing_was_written_is_removed_again(tmp_path: Path) -> None:
    with hold(tmp_path / "run", "refused"):
        pass
    assert not (tmp_path / "run").exists()
    with hold(tmp_path / "run", "writes"):
        (tmp_path / "run" / "run.json").write_text("{}")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [".lock", "run.json"]


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot be written \(.*\)\. Check the folder"), hold(tmp_path / "file", "x"):
        pass


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOLCK, "No locks"), OSError(errno.EINVAL, "Invalid"), NotImplementedError()]
)
def test_a_file_system_without_locks_causes_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Whatever it calls the lack of locks: the file could be opened."""

    def no_locks(self: FileLock) -> None:
        Path(self.lock_file).touch()
        raise error

    monkeypatch.setattr(FileLock, "acquire", no_locks)
    with pytest.warns(UserWarning, match="no locks"), hold(tmp_path / "run", "x"):
        (tmp_path / "run" / "run.json").write_text("{}")
