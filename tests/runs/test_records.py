"""`records.jsonl` survives kills, tells damage, and is written by one process at a time."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
import textwrap
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapbench.errors import RunError
from gapbench.runs.records import COLUMNS, FILE, Writer, drop_doubles, drop_failed, key, read, read_frame, repair
from gapbench.types import Record

RECORD = Record(
    benchmark="signs", sample="test-0-00001-0", view="full", repeat=0, outcome="right", score=1.0, output="K",
    parsed="K", rule="text-exact", reason="", question="Which letter?", options=("K", "M"), answers=("K",),
    answer_type="text", category="letter", cluster="test-0-00001", image_hash="ab" * 12, image_size=(96, 96),
    boxes=((1.0, 2.0, 3.5, 4.0),), evidence="annotated", evidence_area=0.01, region_policy="padded",
    region=(0.0, 0.0, 16.0, 16.0), region_area=0.03, images=1, sent_size=(96, 96), sent_pixels=9216, image_tokens=9,
    prompt_tokens=40, output_tokens=2, seconds=0.25,
)  # fmt: skip


def numbered(n: int) -> Record:
    return dataclasses.replace(RECORD, sample=str(n))


def write(folder: Path, *records: Record) -> None:
    with Writer(folder) as writer:
        for record in records:
            writer.write(record)


def samples(folder: Path) -> list[str]:
    return [row["sample"] for row in read(folder)]


def python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run code in another process that has `RECORD`, `numbered` and `Writer`."""
    head = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})\nfrom runs.test_records import *\n"
    command = [sys.executable, "-c", head + textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


# --- round trip ------------------------------------------------------------------------------------------------


def test_what_is_written_is_read_with_every_field(tmp_path: Path) -> None:
    write(tmp_path, RECORD)
    (row,) = read(tmp_path)
    assert row == json.loads(json.dumps(dataclasses.asdict(RECORD)))
    assert key(row) == ("signs", "test-0-00001-0", "full", 0)
    assert list(read_frame(tmp_path).columns) == list(COLUMNS)


def test_fields_that_are_unknown_stay_none(tmp_path: Path) -> None:
    unknown = {f.name: None for f in dataclasses.fields(Record) if "None" in str(f.type)}
    assert len(unknown) > 8
    write(tmp_path, dataclasses.replace(RECORD, **unknown))  # type: ignore[arg-type]
    (row,) = read(tmp_path)
    assert {c: row[c] for c in unknown} == unknown


HOSTILE = ["\ud800", "a\0b", "one\u2028two\u2029three", "\r\n\x85\x0b\x0c", '"\\', "\N{FULL BLOCK}" * 9, "\x1b[31m", ""]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_one_line_and_comes_back(tmp_path: Path, text: str) -> None:
    write(tmp_path, dataclasses.replace(RECORD, output=text, answers=(text,)), numbered(2))
    first, second = read(tmp_path)
    assert (first["output"], first["answers"]) == (text, [text])
    assert second["sample"] == "2"
    assert (tmp_path / FILE).read_bytes().count(b"\n") == 2


@settings(max_examples=50, deadline=None)
@given(text=st.text(st.characters(codec=None)))
def test_any_text_comes_back(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.mktemp("run")
    write(folder, dataclasses.replace(RECORD, output=text, question=text))
    (row,) = read(folder)
    assert (row["output"], row["question"]) == (text, text)
    printable = re.sub("[\ud800-\udfff]", "?", text)
    frame = read_frame(folder)
    assert (frame["output"][0], frame["question"][0]) == (printable, printable)


def test_a_later_writer_goes_on_where_the_first_stopped(tmp_path: Path) -> None:
    write(tmp_path, numbered(1))
    write(tmp_path, numbered(2))
    assert samples(tmp_path) == ["1", "2"]


def test_a_record_is_readable_as_soon_as_it_is_written(tmp_path: Path) -> None:
    with Writer(tmp_path) as writer:
        for n in range(3):
            writer.write(numbered(n))
            assert len(samples(tmp_path)) == n + 1


def test_a_kill_loses_nothing_that_was_written(tmp_path: Path) -> None:
    code = """
        import os, pathlib, signal
        writer = Writer(pathlib.Path(sys.argv[1]))
        for n in range(20):
            writer.write(numbered(n))
        os.kill(os.getpid(), signal.SIGKILL)
    """
    assert python(code, tmp_path).returncode == -9
    assert samples(tmp_path) == [str(n) for n in range(20)]


# --- damage ----------------------------------------------------------------------------------------------------


def test_a_last_line_torn_at_any_byte_is_passed_over_and_removed(tmp_path: Path) -> None:
    write(tmp_path, numbered(1), numbered(2))
    path = tmp_path / FILE
    content = path.read_bytes()
    start = content.index(b"\n") + 1
    for end in range(start + 1, len(content)):
        path.write_bytes(content[:end])
        assert samples(tmp_path) == ["1"]
        write(tmp_path, numbered(3))
        assert samples(tmp_path) == ["1", "3"]


@pytest.mark.parametrize("content", [b"", b"{", b'{"benchmark": "signs"'])
def test_a_file_with_no_whole_line_starts_anew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    assert samples(tmp_path) == []
    assert repair(tmp_path) is bool(content)
    assert repair(tmp_path) is False
    write(tmp_path, numbered(1))
    assert samples(tmp_path) == ["1"]


def test_nothing_is_repaired_where_nothing_is_torn(tmp_path: Path) -> None:
    assert repair(tmp_path) is False
    write(tmp_path, numbered(1))
    before = (tmp_path / FILE).read_bytes()
    assert repair(tmp_path) is False
    assert (tmp_path / FILE).read_bytes() == before


@pytest.mark.parametrize("line", [b'{"benchmark": "si', b"", b"\xff\xfe", b"\0" * 40, b"[1]", b"7", b'"text"', b"null"])
def test_damage_in_the_middle_is_reported_with_its_line(tmp_path: Path, line: bytes) -> None:
    write(tmp_path, numbered(1))
    path = tmp_path / FILE
    content = path.read_bytes()
    path.write_bytes(content + line + b"\n" + content)
    with pytest.raises(RunError, match=r"records\.jsonl line 2: not a record .*delete that line"):
        list(read(tmp_path))
    repair(tmp_path)  # is for torn ends alone
    assert path.read_bytes() == content + line + b"\n" + content


def test_a_record_of_another_version_is_told_by_what_it_lacks(tmp_path: Path) -> None:
    row: dict[str, Any] = dataclasses.asdict(RECORD)
    del row["cluster"], row["seconds"]
    (tmp_path / FILE).write_text(json.dumps(row) + "\n")
    with pytest.raises(RunError, match=r"line 1: it lacks cluster, seconds.*another version"):
        list(read(tmp_path))


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no records\.jsonl in it\. Expected the folder of a run"):
        list(read(tmp_path))


# --- failed records are removed before a retry -----------------------------------------------------------------


def with_outcomes(*outcomes: str) -> list[Record]:
    return [dataclasses.replace(numbered(n), outcome=outcome) for n, outcome in enumerate(outcomes)]


def test_failed_records_are_removed_and_all_others_stay_byte_for_byte(tmp_path: Path) -> None:
    strange = dataclasses.replace(numbered(9), output="a\ud800b \x00 \u2028 ä", question='"\\\n', seconds=0.1 + 0.2)
    write(tmp_path, *with_outcomes("right", "failed", "wrong", "unparsed", "failed"), strange)
    before = (tmp_path / FILE).read_bytes().splitlines(keepends=True)
    assert drop_failed(tmp_path) == 2
    assert (tmp_path / FILE).read_bytes() == b"".join(before[n] for n in (0, 2, 3, 5))
    assert [p.name for p in tmp_path.iterdir()] == [FILE]


def test_where_nothing_failed_the_file_is_not_touched(tmp_path: Path) -> None:
    write(tmp_path, *with_outcomes("right", "wrong"))
    before = (tmp_path / FILE).stat()
    assert drop_failed(tmp_path) == 0
    assert (tmp_path / FILE).stat() == before or (tmp_path / FILE).stat().st_ino == before.st_ino


def test_where_all_failed_an_empty_file_is_left(tmp_path: Path) -> None:
    write(tmp_path, *with_outcomes("failed", "failed"))
    assert drop_failed(tmp_path) == 2
    assert samples(tmp_path) == []


def test_without_a_file_there_is_nothing_to_remove(tmp_path: Path) -> None:
    assert drop_failed(tmp_path) == 0
    assert not list(tmp_path.iterdir())


def test_a_torn_line_goes_with_those_that_failed(tmp_path: Path) -> None:
    write(tmp_path, *with_outcomes("right", "failed"))
    with (tmp_path / FILE).open("ab") as torn:
        torn.write(b'{"benchmark": "si')
    assert drop_failed(tmp_path) == 1
    assert samples(tmp_path) == ["0"]


def test_damage_is_named_and_nothing_is_removed(tmp_path: Path) -> None:
    write(tmp_path, *with_outcomes("right", "failed"))
    data = (tmp_path / FILE).read_bytes() + b"damage\n"
    (tmp_path / FILE).write_bytes(data)
    with pytest.raises(RunError, match="line 3: not a record"):
        drop_failed(tmp_path)
    assert (tmp_path / FILE).read_bytes() == data


@pytest.mark.evidence
def test_a_file_is_never_held_in_memory(tmp_path: Path) -> None:
    """20 MB are processed in 1 MB of memory; a torn line may be longer than one read."""
    write(tmp_path, *with_outcomes("right", "failed"))
    line = (tmp_path / FILE).read_bytes().splitlines(keepends=True)[0]
    with (tmp_path / FILE).open("ab") as file:
        file.writelines(line for _ in range(20_000_000 // len(line)))
        complete_size = file.tell()
        file.write(b"x" * 200_000)
    tracemalloc.start()
    try:
        assert repair(tmp_path) is True
        assert (tmp_path / FILE).stat().st_size == complete_size
        assert drop_failed(tmp_path) == 1
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert (tmp_path / FILE).stat().st_size < complete_size


def test_a_disk_that_is_full_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    write(tmp_path, *with_outcomes("failed", *["right"] * 40))
    before = (tmp_path / FILE).read_bytes()
    code = """
        import pathlib, resource
        from gapbench.errors import RunError
        from gapbench.runs.records import drop_failed
        resource.setrlimit(resource.RLIMIT_FSIZE, (2500, 2500))
        try:
            drop_failed(pathlib.Path(sys.argv[1]))
        except RunError as error:
            print(error)
    """
    assert "the disk is full or a quota is reached" in python(code, tmp_path).stdout
    assert (tmp_path / FILE).read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [FILE]


def test_records_that_lie_twice_are_dropped_and_the_first_of_each_stays(tmp_path: Path) -> None:
    write(
        tmp_path, numbered(1), numbered(2), numbered(1), dataclasses.replace(numbered(2), output="another"), numbered(3)
    )
    assert drop_doubles(tmp_path) == 2
    assert [(row["sample"], row["output"]) for row in read(tmp_path)] == [
        (str(number), RECORD.output) for number in (1, 2, 3)
    ]
    before = (tmp_path / FILE).stat().st_mtime_ns
    assert drop_doubles(tmp_path) == 0
    assert (tmp_path / FILE).stat().st_mtime_ns == before, "where nothing lies twice the file is not touched"


def test_a_file_that_was_deleted_meanwhile_is_said(tmp_path: Path) -> None:
    with Writer(tmp_path) as writer:
        writer.write(numbered(1))
        (tmp_path / FILE).unlink()
        with pytest.raises(RunError, match="deleted or replaced while answers were added"):
            writer.write(numbered(2))


# --- a disk that is full or closed -----------------------------------------------------------------------------


def test_a_file_that_may_not_grow_keeps_what_it_has(tmp_path: Path) -> None:
    code = """
        import pathlib, resource
        from gapbench.errors import RunError
        resource.setrlimit(resource.RLIMIT_FSIZE, (2500, 2500))
        try:
            with Writer(pathlib.Path(sys.argv[1])) as writer:
                for n in range(100):
                    writer.write(numbered(n))
        except RunError as error:
            print(error)
    """
    printed = python(code, tmp_path).stdout
    assert "the disk is full or a quota is reached" in printed
    assert "free some space and run the same command again" in printed
    written = samples(tmp_path)
    assert written == [str(n) for n in range(len(written))]
    assert 1 <= len(written) < 10
    write(tmp_path, numbered(len(written)))  # the torn line is gone, and the run goes on
    assert samples(tmp_path) == [*written, str(len(written))]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_said_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Writer, "in_place", True)  # /dev/full takes the place of the file
    with Writer(tmp_path) as writer, open("/dev/full", "wb") as full:
        os.dup2(full.fileno(), writer._file.fileno())  # from here on, every write meets a full disk
        with pytest.raises(RunError, match=r"No space left.*free some space and run the same command again"):
            writer.write(RECORD)


def test_a_folder_that_is_missing_or_closed_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"missing.*cannot be written \(No such file"):
        Writer(tmp_path / "missing")
    (tmp_path / FILE).mkdir()
    with pytest.raises(RunError, match=r"cannot be written \(Is a directory"):
        Writer(tmp_path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(RunError, match="Permission denied"):
        Writer(tmp_path)
