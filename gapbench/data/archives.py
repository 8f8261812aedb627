"""Unpacks the archives of a data set: once, completely or not at all, and never outside their folder.

    base = unpacked(data, "original_images/original_images.tar.gz*", "original_images/sa_1.jpg")
    base / "original_images" / "sa_1.jpg"

Reads tar (plain, gzip, bzip2 or xz; also split into parts that are one stream) and zip. The files go to `.unpacked` in
the data's folder, or to gapbench's cache if that folder is read-only. Files that are already unpacked are used where
they lie.

Against decompression bombs, an archive may unpack to `MOST_TIMES` its size, and a small one to `MOST_OF_SMALL` bytes.

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
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from gapbench.errors import BenchmarkError
from gapbench.util.files import cache
from gapbench.util.progress import MEGABYTE, megabytes
from gapbench.util.text import error_line

COMPRESSED: dict[bytes, Callable[[Any], Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
"""Decompressors by the first bytes of the file; unlike tarfile's own, they notice a stream that ends too early."""

MOST_TIMES, MOST_OF_SMALL = 100, 1_000_000_000
"""Images do not shrink in an archive, and text shrinks to a tenth; a bomb has a thousandth of its size or less."""

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
    held = next((str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()), "nothing")
    raise BenchmarkError(
        f"{parts[0]}: it does not hold {example}, which the data names; it holds, for instance, {held}. Fetch the data "
        f"again, or unpack it so that the file is {inside(data, example)}."
    )


def unpack(parts: Path | Sequence[Path], into: Path) -> Path:
    """Unpack an archive, or its parts, into the folder `into`, and return that folder. An existing folder is kept.

    `into` appears only when it is complete, and a lock lets one process at a time write it. Raises BenchmarkError for a
    member that would leave the folder or is no plain file, and for an archive that is damaged, does not fit on the disk
    or unpacks to suspiciously many bytes.
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
        with megabytes(f"unpacking {paths[0].name}", size) as count, _Joined(paths, count) as raw:
            stream = io.BufferedReader(raw, MEGABYTE)
            start = stream.peek(6)
            if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
                _unpack_zip(paths, draft, count)
            else:
                reader = next((r for magic, r in COMPRESSED.items() if start.startswith(magic)), None)
                _unpack_tar(paths[0], _Bounded(reader(stream) if reader else stream, paths[0], size), draft)
    except BaseException as error:
        shutil.rmtree(draft, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            _check_space(draft.parent, size, paths[0], full=True)
        if isinstance(error, DAMAGED) or (isinstance(error, OSError) and error.errno is None):
            several = f" It has {len(paths)} parts: is one missing?" if len(paths) > 1 else ""
            fault = f"{paths[0]}: cannot be unpacked ({error_line(error)})."
            raise BenchmarkError(f"{fault}{several} Fetch it again.") from error
        raise


def _unpack_tar(archive: Path, stream: Any, into: Path) -> None:
    tar: Any  # its attributes `fileobj` and `offset` are not in its type
    with tarfile.open(fileobj=stream, mode="r|") as tar:
        for member in tar:
            _check_member(archive, member.name, member.isreg() or member.isdir())
            _check_space(into, member.size, archive)
            tar.extract(member, into, filter="data")
        if tar.fileobj.tell() < tar.offset + tarfile.BLOCKSIZE:  # tarfile ends at an empty block, or without one
            raise tarfile.ReadError("it ends in the middle")
        while rest := tar.fileobj.read(MEGABYTE):  # a truncated compressed stream shows only at its end
            if rest.strip(b"\0"):  # tarfile ends at a damaged header, too
                raise tarfile.ReadError("it does not end at its last member")


def _unpack_zip(paths: Sequence[Path], into: Path, count: Callable[[int], None]) -> None:
    if len(paths) > 1:
        raise zipfile.BadZipFile("a zip in several parts")
    with zipfile.ZipFile(paths[0]) as archive:
        size = sum(m.file_size for m in archive.infolist())  # zipfile reads no more of a member than it declares
        _check_bomb(paths[0], paths[0].stat().st_size, size)
        _check_space(into, size, paths[0])
        for member in archive.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)
            _check_member(paths[0], member.filename, kind in (0, stat.S_IFREG, stat.S_IFDIR))
            archive.extract(member, into)
            count(member.compress_size)


def _check_member(archive: Path, name: str, plain: bool) -> None:
    """Refuse what the standard library would make harmless and unpack: the data would not be as its authors meant."""
    try:
        why = "" if plain and inside(archive, name) else "is a link or a device"
    except BenchmarkError:
        why = "leads out of the folder"
    if why:
        fault = f"{archive}: its member {name!r} {why}, so nothing was unpacked."
        raise BenchmarkError(f"{fault} Inspect the archive; unpack it by hand if you trust it.")


def _check_bomb(archive: Path, size: int, unpacked_size: int) -> None:
    if unpacked_size > (most := max(MOST_OF_SMALL, MOST_TIMES * size)):
        raise BenchmarkError(
            f"{archive}: its {size:,} bytes unpack to more than {most:,}, as those of a decompression bomb do, so "
            "nothing was unpacked. Inspect the archive; unpack it by hand if you trust it."
        )


class _Bounded:
    """A decompressed stream that is refused once it is too long for an archive of `size` bytes."""

    def __init__(self, stream: Any, archive: Path, size: int) -> None:
        self._stream, self._archive, self._size, self._read = stream, archive, size, 0

    def read(self, most: int) -> bytes:
        data: bytes = self._stream.read(most)
        self._read += len(data)
        _check_bomb(self._archive, self._size, self._read)
        return data


class _Joined(io.RawIOBase):
    """Several files as one that is read once; `count` is called with the number of bytes of each read."""

    def __init__(self, paths: Sequence[Path], count: Callable[[int], None]) -> None:
        self._files = (path.open("rb") for path in paths)
        self._file = next(self._files)
        self._count = count

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not (size := self._file.readinto(buffer)) and (following := next(self._files, None)):
            self._file.close()
            self._file = following
        self._count(size)
        return size

    def close(self) -> None:
        self._file.close()
        super().close()


def _target_folder(data: Path, parts: Sequence[Path], inner: PurePosixPath) -> Path:
    """The folder below which an archive is unpacked (in `inner`); it depends on the archive's file names and sizes."""
    listing = "\n".join(f"{p.name} {p.stat().st_size}" for p in parts)
    name = f"{parts[0].name.partition('.')[0]}-{hashlib.sha256(listing.encode()).hexdigest()[:12]}"
    beside_data = data / ".unpacked"
    folder = beside_data / name
    try:
        beside_data.mkdir(exist_ok=True)
        if (folder / inner).exists() or os.access(folder if folder.exists() else beside_data, os.W_OK):
            return folder
    except OSError:  # a read-only disk
        pass
    return cache() / "unpacked" / hashlib.sha256(str(data.resolve()).encode()).hexdigest()[:12] / name


def _check_space(folder: Path, size: int, archive: Path, full: bool = False) -> None:
    free = shutil.disk_usage(folder).free
    if full or free < size:
        raise BenchmarkError(
            f"{archive}: unpacking needs more than {size / 1e9:.1f} GB in {folder}, and {free / 1e9:.1f} GB are free. "
            "Make room, or copy the data to a larger disk and pass it as NAME=FOLDER."
        )


def _part_order(path: Path) -> list[tuple[int, str]]:
    """A sort key that puts part 2 before part 10."""
    return [(int(piece), "") if piece.isdigit() else (-1, piece) for piece in re.split(r"(\d+)", path.name)]
