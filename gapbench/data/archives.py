"""Unpacks the archives of a data set: once, completely or not at all, and never outside their folder.

    base = unpacked(data, "original_images/original_images.tar.gz*", "original_images/sa_1.jpg")
    base / "original_images" / "sa_1.jpg"

Reads tar (plain, gzip, bzip2 or xz; also split into parts that are one stream) and zip. The files go to `.unpacked` in
the data's folder, or to gapbench's cache if that folder is read-only. Files that are already unpacked are used where
they lie. `read_member` reads one file of a zip and unpacks nothing.

Limits: archives may hold plain files and folders; links and devices are refused. Split zips are not read. An
interrupted unpacking starts again from the beginning.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import hashlib
import io
import lzma
import os
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any

from gapbench.errors import BenchmarkError, SampleError
from gapbench.util.files import cache
from gapbench.util.progress import MEGABYTE, megabytes

CountBytes = Callable[[int], None]

COMPRESSED: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": lambda stream: gzip.GzipFile(fileobj=stream),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}
"""Decompressors by the first bytes of the file; each raises an error for a stream that ends too early."""

DAMAGED = (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, RuntimeError, ValueError)
"""What the standard library raises for a damaged archive, apart from OSErrors without an error number."""


def unpacked(data: Path, pattern: str, example: str) -> Path:
    """Unpack an archive if necessary, and return the folder to which file names such as `example` are relative.

    `pattern` is a glob relative to `data` that matches the archive or its parts, which are read in the order of their
    numbers. Archives differ in whether their file names start at `data` or at the archive's own folder; both work.
    Raises BenchmarkError when neither the file nor an archive exists, when the archive is damaged or unsafe, and when
    it does not hold `example`.
    """
    if inside(data, example).is_file():
        return data
    parts = sorted((p for p in data.glob(pattern) if p.is_file()), key=_part_order)
    if not parts:
        raise BenchmarkError(f"{data}: it has neither {example} nor an archive {pattern}. Is the local copy complete?")
    inner = PurePosixPath(pattern).parent
    root = _target_folder(data, parts, inner)
    folder = unpack(parts, root / inner)
    for base in (root, folder):
        if inside(base, example).is_file():
            return base
    example_held = next((str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()), "nothing")
    raise BenchmarkError(
        f"{parts[0]}: it does not hold {example}, which the data names; it holds, for instance, "
        f"{example_held}. Fetch the data again, or unpack it so that the file is {inside(data, example)}."
    )


def unpack(parts: Path | Sequence[Path], into: Path) -> Path:
    """Unpack an archive, or its parts, into the folder `into`, and return that folder. An existing folder is kept.

    `into` appears only when it is complete, and a lock lets one process at a time write it. Raises BenchmarkError for a
    member that would leave the folder or is no plain file, for a damaged archive and for a full disk.
    """
    from filelock import FileLock

    if into.exists():  # checked before the lock: the folder may be read-only
        return into
    paths = [parts] if isinstance(parts, Path) else list(parts)
    into.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(into.with_name(f".{into.name}.lock")):
        if into.exists():
            return into
        draft = into.with_name(f".{into.name}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        _unpack(paths, draft)
        draft.replace(into)
    return into


def read_member(archive: Path, name: str) -> bytes:
    """The bytes of one file of a zip. `functools.partial(read_member, archive, name)` serves as a lazy image.

    Raises SampleError when the archive or the file is missing or damaged.
    """
    try:
        return _zip(archive).read(name)
    except KeyError as error:
        raise SampleError(f"{archive.name}: it holds no file {name!r}. Is it the archive the data names?") from error
    except (*DAMAGED, OSError) as error:
        raise SampleError(f"{archive.name}: {name!r} cannot be read ({error}). Fetch the archive again.") from error


def inside(folder: Path, name: str) -> Path:
    """`folder / name` for a name that comes from the data. Raises BenchmarkError if it leads out of the folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or PureWindowsPath(name).drive or "\\" in name or "\0" in name:
        raise BenchmarkError(f"{folder}: the data names the file {name!r}, which lies outside. Do not trust this data.")
    return folder.joinpath(*path.parts)


def _unpack(paths: Sequence[Path], draft: Path) -> None:
    size = sum(p.stat().st_size for p in paths)
    _check_space(draft.parent, size, paths[0])
    try:
        draft.mkdir()
        with paths[0].open("rb") as file:
            zipped = file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
        with megabytes(f"unpacking {paths[0].name}", size) as count:
            (_unpack_zip if zipped else _unpack_tar)(paths, draft, count)
    except BaseException as error:
        shutil.rmtree(draft, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _no_space(draft.parent, size, paths[0]) from error
        if isinstance(error, DAMAGED) or (isinstance(error, OSError) and error.errno is None):
            several = f" It has {len(paths)} parts: is one missing?" if len(paths) > 1 else ""
            raise BenchmarkError(
                f"{paths[0]}: cannot be unpacked ({type(error).__name__}: {error}).{several} Fetch it again."
            ) from error
        raise


def _unpack_tar(paths: Sequence[Path], into: Path, count: CountBytes) -> None:
    with _Joined(paths, count) as raw:
        buffered = io.BufferedReader(raw, MEGABYTE)
        start = buffered.peek(6)
        reader = next((r for magic, r in COMPRESSED.items() if start.startswith(magic)), lambda stream: stream)
        stream = _Tail(reader(buffered))
        with tarfile.open(fileobj=stream, mode="r|") as tar:  # type: ignore[call-overload]
            for member in tar:
                source = tar.extractfile(member) if member.isreg() else None
                if source is None and not member.isdir():
                    raise _unsafe(paths[0], member.name, "is a link or a device")
                _write(paths[0], member.name, source, into)
        while stream.read(MEGABYTE):  # a truncated archive shows only at its end
            pass
        if stream.last.strip(b"\0"):
            raise tarfile.ReadError("it ends in the middle")


def _unpack_zip(paths: Sequence[Path], into: Path, count: CountBytes) -> None:
    if len(paths) > 1:
        raise zipfile.BadZipFile("a zip in several parts")
    with zipfile.ZipFile(paths[0]) as archive:
        _check_space(into, sum(m.file_size for m in archive.infolist()), paths[0])
        for member in archive.infolist():
            if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _unsafe(paths[0], member.filename, "is a link or a device")
            if member.is_dir():
                _write(paths[0], member.filename, None, into)
            else:
                with archive.open(member) as source:
                    _write(paths[0], member.filename, source, into)
            count(member.compress_size)


def _write(archive: Path, name: str, source: IO[bytes] | None, into: Path) -> None:
    try:
        target = inside(into, name)
    except BenchmarkError as error:
        raise _unsafe(archive, name, "leads out of the folder") from error
    (target.parent if source else target).mkdir(parents=True, exist_ok=True)
    if source:
        with target.open("wb") as file:
            shutil.copyfileobj(source, file, MEGABYTE)


def _unsafe(archive: Path, name: str, why: str) -> BenchmarkError:
    return BenchmarkError(
        f"{archive}: its member {name!r} {why}, so nothing was unpacked. Inspect the archive; unpack it by "
        "hand if you trust it."
    )


class _Joined(io.RawIOBase):
    """Several files as one stream that is read once; `count` is called with the number of bytes of each read."""

    def __init__(self, paths: Sequence[Path], count: CountBytes) -> None:
        self._left = list(paths)
        self._file: IO[bytes] | None = None
        self._count = count

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while self._file or self._left:
            self._file = self._file or self._left.pop(0).open("rb")
            size: int = self._file.readinto(buffer)  # type: ignore[attr-defined]
            if size:
                self._count(size)
                return size
            self._file.close()
            self._file = None
        return 0

    def close(self) -> None:
        if self._file:
            self._file.close()
        super().close()


class _Tail:
    """A stream that remembers its last two blocks: in a complete tar, both are empty."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.last = b""

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self.last = (self.last + data)[-2 * tarfile.BLOCKSIZE :]
        return data


def _target_folder(data: Path, parts: Sequence[Path], inner: PurePosixPath) -> Path:
    """The folder below which an archive is unpacked (in `inner`); it depends on the archive's file names and sizes."""
    listing = "\n".join(f"{p.name} {p.stat().st_size}" for p in parts)
    stem = re.match(r"[^.]*", parts[0].name)
    name = f"{stem[0] if stem else ''}-{hashlib.sha256(listing.encode()).hexdigest()[:12]}"
    beside_data = data / ".unpacked"
    folder = beside_data / name
    try:
        beside_data.mkdir(exist_ok=True)
        if (folder / inner).exists() or os.access(folder if folder.exists() else beside_data, os.W_OK):
            return folder
    except OSError:  # a read-only disk
        pass
    return cache() / "unpacked" / hashlib.sha256(str(data.resolve()).encode()).hexdigest()[:12] / name


def _check_space(folder: Path, size: int, archive: Path) -> None:
    if shutil.disk_usage(folder).free < size:
        raise _no_space(folder, size, archive)


def _no_space(folder: Path, size: int, archive: Path) -> BenchmarkError:
    free = shutil.disk_usage(folder).free
    return BenchmarkError(
        f"{archive}: unpacking needs more than {size / 1e9:.1f} GB in {folder}, and {free / 1e9:.1f} GB are free. Make "
        "room, or copy the data to a larger disk and pass it as NAME=FOLDER."
    )


def _part_order(path: Path) -> list[tuple[int, str]]:
    """A sort key that puts part 2 before part 10."""
    return [(int(piece), "") if piece.isdigit() else (-1, piece) for piece in re.split(r"(\d+)", path.name)]


@lru_cache(maxsize=4)
def _zip(archive: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(archive)
