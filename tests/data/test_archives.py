"""Archives are unpacked whole or not at all, once, and never outside their folder."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapbench.data import archives
from gapbench.data.archives import inside, unpack, unpacked
from gapbench.errors import BenchmarkError

FILES = {"a/one.txt": b"one", "a/b/two.bin": random.Random(0).randbytes(40_000), "three": b""}


def tar(files: Mapping[str, bytes], *more: tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for info in more:
            archive.addfile(info)
    return buffer.getvalue()


def zipped(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def written(folder: Path, data: bytes, name: str = "pack.tar") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def files_in(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress], ids=["tar", "gz", "bz2", "xz"])
def test_a_tar_is_unpacked_whatever_its_compression_and_name(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    assert files_in(unpack(written(tmp_path, pack(tar(FILES)), "data"), tmp_path / "out")) == FILES


def test_a_zip_is_unpacked(tmp_path: Path) -> None:
    assert files_in(unpack(written(tmp_path, zipped(FILES)), tmp_path / "out")) == FILES


@pytest.mark.parametrize("parts", [1, 2, 12])
def test_parts_are_one_stream_in_the_order_of_their_numbers(tmp_path: Path, parts: int) -> None:
    packed = gzip.compress(tar(FILES))
    size = -(-len(packed) // parts)
    for n in range(parts):
        written(tmp_path, packed[n * size : (n + 1) * size], f"pack.tar.gz{n}")  # 10 comes after 9, not after 1
    base = unpacked(tmp_path, "pack.tar.gz*", "a/one.txt")
    assert files_in(base) == FILES


def test_names_may_count_from_the_data_or_from_the_archive_s_folder(tmp_path: Path) -> None:
    written(tmp_path / "inner", tar({"./1.jpg": b"1"}), "images/pack.tar")
    written(tmp_path / "whole", tar({"images/1.jpg": b"1"}), "images/pack.tar")
    for data in (tmp_path / "inner", tmp_path / "whole"):
        base = unpacked(data, "images/pack.tar*", "images/1.jpg")
        assert (base / "images" / "1.jpg").read_bytes() == b"1"


def test_what_lies_there_unpacked_is_used_as_it_is(tmp_path: Path) -> None:
    written(tmp_path, b"1", "images/1.jpg")
    written(tmp_path, b"no archive at all", "images/pack.tar")
    assert unpacked(tmp_path, "images/pack.tar", "images/1.jpg") == tmp_path
    assert not (tmp_path / ".unpacked").exists()


def test_an_archive_is_unpacked_once_and_another_one_goes_elsewhere(tmp_path: Path) -> None:
    path = written(tmp_path, tar({"1.jpg": b"1"}))
    first = unpacked(tmp_path, "pack.tar", "1.jpg")
    (first / "1.jpg").write_bytes(b"as it was left")
    assert unpacked(tmp_path, "pack.tar", "1.jpg") == first
    assert (first / "1.jpg").read_bytes() == b"as it was left"
    path.write_bytes(tar({"1.jpg": b"1" * 20_000}))
    assert (unpacked(tmp_path, "pack.tar", "1.jpg") / "1.jpg").read_bytes() == b"1" * 20_000


def test_data_that_cannot_be_written_is_unpacked_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data"
    written(data, tar({"1.jpg": b"1"}))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    real = Path.mkdir

    def read_only(self: Path, *args: object, **options: object) -> None:
        if data in self.parents:
            raise OSError(30, "Read-only file system")
        real(self, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "mkdir", read_only)  # the tests may run as root, whom no permission stops
    base = unpacked(data, "pack.tar", "1.jpg")
    assert base.is_relative_to(tmp_path / "cache" / "gapbench")
    assert (base / "1.jpg").read_bytes() == b"1"
    assert [p.name for p in data.iterdir()] == ["pack.tar"]


@pytest.fixture
def read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of data in which nobody may write, after `.unpacked` was made: a shared one, say. And a cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data = tmp_path / "data"
    monkeypatch.setattr("os.access", lambda path, mode: not Path(path).is_relative_to(data))  # root may do anything
    return data


@pytest.mark.parametrize("name", ["1.jpg", "images/1.jpg"])
def test_what_somebody_else_unpacked_is_used_without_writing_there(
    monkeypatch: pytest.MonkeyPatch, read_only: Path, name: str
) -> None:
    archive = str(Path(name).with_name("pack.tar"))
    written(read_only, tar({"1.jpg": b"1"}), archive)
    with monkeypatch.context() as as_administrator:
        as_administrator.setattr("os.access", lambda path, mode: True)
        base = unpacked(read_only, archive, name)
    monkeypatch.setattr("filelock.FileLock", lambda path: pytest.fail(f"{path} cannot be written"))
    assert base.is_relative_to(read_only)
    assert unpacked(read_only, archive, name) == base


def test_where_somebody_else_s_unpacking_was_cut_off_the_cache_is_used(read_only: Path) -> None:
    path = written(read_only, tar({"1.jpg": b"1"}), "images/pack.tar")
    folder = archives._target_folder(read_only, [path], PurePosixPath("images"))
    (read_only / ".unpacked" / folder.name / ".images.draft").mkdir(parents=True)
    base = unpacked(read_only, "images/pack.tar", "images/1.jpg")
    assert not base.is_relative_to(read_only)
    assert (base / "images" / "1.jpg").read_bytes() == b"1"


UNSAFE = {
    "absolute": (tar({"/etc/owned": b"x"}), "'/etc/owned' leads out"),
    "above": (tar({"good": b"x", "a/../../owned": b"x"}), r"'a/\.\./\.\./owned' leads out"),
    "windows": (tar({"..\\owned": b"x"}), "leads out"),
    "drive": (tar({"C:/owned": b"x"}), "leads out"),
    "symlink": (tar({}, special("link", tarfile.SYMTYPE, "/etc")), "'link' is a link or a device"),
    "symlink within": (tar(FILES, special("link", tarfile.SYMTYPE, "three")), "is a link or a device"),
    "hard link": (tar({}, special("link", tarfile.LNKTYPE, "../owned")), "is a link or a device"),
    "device": (tar({}, special("null", tarfile.CHRTYPE)), "is a link or a device"),
    "pipe": (tar({}, special("pipe", tarfile.FIFOTYPE)), "is a link or a device"),
    "zip above": (zipped({"../owned": b"x"}), "leads out"),
    "zip absolute": (zipped({"/etc/owned": b"x"}), "leads out"),
}


@pytest.mark.parametrize("case", UNSAFE)
def test_nothing_of_an_unsafe_archive_is_kept(tmp_path: Path, case: str) -> None:
    data, message = UNSAFE[case]
    path = written(tmp_path / "inner", data)
    with pytest.raises(BenchmarkError, match=message):
        unpack(path, tmp_path / "inner" / "out")
    assert {p.name for p in tmp_path.rglob("*")} <= {"inner", "pack.tar", ".out.lock"}


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "pack.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(BenchmarkError, match="'link' is a link or a device"):
        unpack(tmp_path / "pack.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@given(st.text(max_size=30) | st.lists(st.sampled_from(["..", ".", "a", "/", "\\", "C:", "//", ""])).map("/".join))
def test_no_name_leads_out_of_a_folder(name: str) -> None:
    folder = Path("/data/set")
    try:
        found = inside(folder, name)
    except BenchmarkError:
        return
    assert os.path.normpath(found) == str(folder) or os.path.normpath(found).startswith(f"{folder}/")


WHOLE = gzip.compress(tar(FILES), mtime=0)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"no archive", WHOLE[: len(WHOLE) // 2], WHOLE[:-8], WHOLE[:2000] + b"\0\0" + WHOLE[2002:],
        tar(FILES)[:-10240], tar(FILES)[:512], tar(FILES)[:1024], tar(FILES)[:1300],
        tar(FILES)[:1024] + b"\xff" * 512 + tar(FILES)[1536:], tar(FILES) + tar(FILES),
        zipped(FILES)[:-30], zipped(FILES).replace(b"three", b"thr33", 1),
    ],
)  # fmt: skip
def test_a_damaged_archive_is_no_shorter_data_set(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(BenchmarkError, match=r"pack\.tar: cannot be unpacked \(.*Fetch it again"):
        unpack(written(tmp_path, data), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@given(st.integers(0, len(WHOLE) - 1))
def test_no_beginning_of_an_archive_passes_for_the_whole(tmp_path_factory: pytest.TempPathFactory, end: int) -> None:
    folder = tmp_path_factory.mktemp("cut")
    with pytest.raises(BenchmarkError):
        unpack(written(folder, WHOLE[:end]), folder / "out")


def test_a_missing_part_is_suspected(tmp_path: Path) -> None:
    paths = [written(tmp_path, WHOLE[:15_000], "p0"), written(tmp_path, WHOLE[30_000:], "p2")]
    with pytest.raises(BenchmarkError, match="It has 2 parts: is one missing"):
        unpack(paths, tmp_path / "out")


def test_an_archive_without_the_file_says_what_it_holds(tmp_path: Path) -> None:
    written(tmp_path, tar({"other.jpg": b"1"}), "images/pack.tar")
    with pytest.raises(BenchmarkError, match=r"does not hold images/1\.jpg, .* it holds, for instance, other\.jpg"):
        unpacked(tmp_path, "images/pack.tar", "images/1.jpg")


def test_neither_file_nor_archive_names_both(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"neither images/1\.jpg nor an archive images/pack\.tar\*"):
        unpacked(tmp_path, "images/pack.tar*", "images/1.jpg")


def test_a_disk_that_is_too_small_is_seen_before_and_a_full_one_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, WHOLE)
    usage = archives.shutil.disk_usage(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(archives.shutil, "disk_usage", lambda folder: usage._replace(free=100))
        with pytest.raises(BenchmarkError, match=r"unpacking needs more than 0\.0 GB .*Make room"):
            unpack(path, tmp_path / "out")

    def full(source: object, target: io.BufferedWriter, *given: object) -> None:
        target.write(b"some")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(tarfile, "copyfileobj", full)
        with pytest.raises(BenchmarkError, match="Make room"):
            unpack(path, tmp_path / "out")
    assert {p.name for p in tmp_path.iterdir()} == {"pack.tar", ".out.lock"}
    assert files_in(unpack(path, tmp_path / "out")) == FILES


SLOW = """
import sys, tarfile, time
from pathlib import Path
from gapbench.data import archives
real = tarfile.TarFile.extract
def slow(*given, **options):
    real(*given, **options)
    print("wrote", flush=True)
    time.sleep({pause})
tarfile.TarFile.extract = slow
print(archives.unpack(Path(sys.argv[1]), Path(sys.argv[2])), flush=True)
"""


def started(path: Path, into: Path, pause: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SLOW.format(pause=pause), str(path), str(into)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_killed_unpacking_leaves_nothing_that_looks_complete_and_starts_again(tmp_path: Path) -> None:
    path = written(tmp_path, WHOLE)
    with started(path, tmp_path / "out", 60) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "wrote\n"
        killed.send_signal(signal.SIGKILL)
    assert (tmp_path / ".out.draft" / "a" / "one.txt").exists()
    assert not (tmp_path / "out").exists()
    (tmp_path / ".out.draft" / "stray").write_text("of the first try")
    assert files_in(unpack(path, tmp_path / "out")) == FILES
    assert not (tmp_path / ".out.draft").exists()


def test_of_two_processes_one_unpacks_and_the_other_waits(tmp_path: Path) -> None:
    path = written(tmp_path, WHOLE)
    with started(path, tmp_path / "out", 0.3) as one:
        assert one.stdout is not None
        assert one.stdout.readline() == "wrote\n"
        with started(path, tmp_path / "out", 0) as other:
            assert other.communicate(timeout=60)[0] == f"{tmp_path / 'out'}\n", "it wrote nothing itself"
        assert one.wait() == 0
    assert files_in(tmp_path / "out") == FILES


def test_progress_counts_megabytes_of_the_archive(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = random.Random(1).randbytes(3_400_000)
    unpack(written(tmp_path, tar({"noise": data})), tmp_path / "out")
    assert "unpacking pack.tar: 3/3 MB" in capsys.readouterr().err


def test_a_large_archive_needs_little_memory_and_time(tmp_path: Path) -> None:
    noise = random.Random(2).randbytes(100_000)
    with tarfile.open(tmp_path / "pack.tar.gz", "w:gz", compresslevel=1) as archive:
        for n in range(500):
            info = tarfile.TarInfo(f"{n}.jpg")
            info.size = len(noise)
            archive.addfile(info, io.BytesIO(noise))
    code = (
        "import resource, sys; from pathlib import Path; from gapbench.data.archives import unpack\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "unpack(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "pack.tar.gz"), str(tmp_path / "out")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(done.stdout) < 60_000, "kilobytes; the archive holds 50 MB"
    assert time.monotonic() - start < 30
    assert len(list((tmp_path / "out").iterdir())) == 500


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, None], ids=["gz", "bz2", "xz", "zip"])
@pytest.mark.parametrize("sizes", [[3_000_000], [300_000] * 10], ids=["one member", "their sum"])
def test_a_bomb_is_refused_before_it_fills_the_disk(
    pack: Callable[[bytes], bytes] | None, sizes: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MOST_OF_SMALL", 1_000_000)
    files = {f"{number}.bin": bytes(size) for number, size in enumerate(sizes)}
    path = written(tmp_path, pack(tar(files)) if pack else zipped(files), "pack")
    with pytest.raises(BenchmarkError, match=r"pack: its [\d,]+ bytes unpack to more than 1,000,000, .* bomb"):
        unpack(path, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir() if p.is_dir()] == []
    monkeypatch.setattr(archives, "MOST_OF_SMALL", 4_000_000)
    assert files_in(unpack(path, tmp_path / "out")) == files


def test_what_does_not_grow_is_no_bomb_whatever_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MOST_OF_SMALL", 0)
    assert files_in(unpack(written(tmp_path, tar({"a": b"a" * 9_000})), tmp_path / "out")) == {"a": b"a" * 9_000}


def test_a_bomb_of_metadata_is_not_held_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """tarfile reads the header of a long name whole, however long it is."""
    monkeypatch.setattr(archives, "MOST_OF_SMALL", 1_000_000)
    info = special("././@LongLink", tarfile.GNUTYPE_LONGNAME)
    info.size = 1 << 30
    path = written(tmp_path, gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(5_000_000)))
    with pytest.raises(BenchmarkError, match="bomb"):
        unpack(path, tmp_path / "out")


def test_a_member_larger_than_the_disk_is_refused_before_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, gzip.compress(tar({"a": bytes(500_000)})))
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 100_000))
    with pytest.raises(BenchmarkError, match="unpacking needs more than"):
        unpack(path, tmp_path / "out")
