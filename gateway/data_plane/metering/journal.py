"""Usage that could not wait for the database: durable on disk, replayed until the ledger has it.

Each process has a folder of segments, files of lines `crc32 json`. A line counts once fdatasync has
returned; a torn or corrupt line is skipped and counted. A process locks its folder: another that
finds it unlocked knows that its owner is dead, and replays it: see `recovery`. The journal blocks:
call it from a thread.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import structlog

log = structlog.get_logger()

_UNREADABLE = ".unreadable"
_PROBE_BYTES = 65_536


class Journal:
    """The journal of this process. Call it from one thread at a time."""

    def __init__(self, folder: Path, name: str, *, bytes_max: int, segment_bytes: int) -> None:
        self.bytes_max = bytes_max
        self._root = folder
        self._own = folder / name
        self._segment_bytes = segment_bytes
        self._number = 0
        self._sizes: dict[Path, int] = {}
        self._file: IO[bytes] | None = None
        self._lock: IO[bytes] | None = None
        self.spoiled = 0
        """Lines skipped because their checksum is wrong."""

    def open(self) -> None:
        """Create the folder and lock it; its name is durable. Raises JournalError."""
        try:
            folders = (self._root, *self._root.parents)
            made = [folder.parent for folder in folders if not folder.exists()]
            # locked before it gets its name, or another process could take it for abandoned
            unnamed = self._root / f".{self._own.name}"
            unnamed.mkdir(parents=True, mode=0o700)
            self._lock = _locked(unnamed)
            unnamed.rename(self._own)
            for folder in (self._root, *made):
                _sync_folder(folder)
        except OSError as error:
            raise JournalError(f"the journal can't be created in {self._root}: {error}") from error
        assert self._lock, "a journal's name is its process's own"

    @property
    def size_bytes(self) -> int:
        """Bytes on disk."""
        return sum(tuple(self._sizes.values()))  # metrics read it from another thread

    def free_bytes(self) -> int:
        """Return how many bytes the disk has left for us. Raises OSError."""
        return shutil.disk_usage(self._root).free

    def append(self, records: Sequence[bytes]) -> Path:
        """Write the records and return their segment once they are durable.

        Raises JournalError: then none of the requests may be answered.
        """
        lines = b"".join(map(_line, records))
        if self.size_bytes + len(lines) > self.bytes_max:
            raise JournalError(f"the journal is full: {self.bytes_max} bytes")
        try:
            path, file = self._segment()
            file.write(lines)
            file.flush()
            os.fdatasync(file.fileno())
        except OSError as error:
            self._cut_segment()
            raise JournalError(f"the journal can't be written: {error}") from error
        self._sizes[path] += len(lines)
        if self._sizes[path] >= self._segment_bytes:
            with contextlib.suppress(OSError):  # the lines are durable, whatever closing says
                self._close_segment()
        return path

    def probe(self) -> None:
        """Check whether records can be appended. Raises JournalError."""
        if self.size_bytes + _PROBE_BYTES > self.bytes_max:
            raise JournalError(f"the journal is full: {self.bytes_max} bytes")
        path = self._own / "probe"
        try:
            with path.open("wb") as file:
                file.write(bytes(_PROBE_BYTES))
                file.flush()
                os.fdatasync(file.fileno())
        except OSError as error:
            raise JournalError(f"the journal can't be written: {error}") from error
        finally:
            with contextlib.suppress(OSError):
                path.unlink()

    def forget(self, segment: Path) -> None:
        """Remove a segment that the ledger has completely. Raises OSError if it can't."""
        if self._file is not None and Path(self._file.name) == segment:
            self._close_segment()
        segment.unlink(missing_ok=True)
        self._sizes.pop(segment, None)

    def abandoned(self) -> list[Abandoned]:
        """Take over the folders of dead processes."""
        return [
            Abandoned(self, folder, lock)
            for folder in sorted(self._root.glob("[!.]*"))
            if folder != self._own and folder.is_dir() and (lock := _locked(folder))
        ]

    def close(self) -> None:
        """Unlock the folder, and remove it if it is empty."""
        try:
            self._close_segment()
            if not self._sizes:
                shutil.rmtree(self._own)
        except OSError as error:
            log.warning("journal not removed", folder=str(self._own), reason=str(error))
        if self._lock is not None:
            self._lock.close()

    def _segment(self) -> tuple[Path, IO[bytes]]:
        if self._file is None:
            self._number += 1
            path = self._own / f"{self._number:08d}.journal"
            self._file = path.open("xb")
            self._sizes[path] = 0
            _sync_folder(self._own)
        return Path(self._file.name), self._file

    def _cut_segment(self) -> None:
        """Undo a failed append as far as the disk allows; the next one starts a new segment."""
        if self._file is not None:
            path = Path(self._file.name)
            with contextlib.suppress(OSError):
                self._close_segment()
            with contextlib.suppress(OSError):
                if self._sizes[path]:
                    os.truncate(path, self._sizes[path])
                else:
                    path.unlink()
                    del self._sizes[path]
        self._file = None

    def _close_segment(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            file.close()


class JournalError(Exception):
    """The journal is full or its disk fails; none of the records can be relied on."""


class Abandoned:
    """The journal of a dead process, locked by this one."""

    def __init__(self, journal: Journal, folder: Path, lock: IO[bytes]) -> None:
        self._journal = journal
        self.folder = folder
        self._lock = lock

    def segments(self) -> list[Path]:
        """Return its segments, oldest first."""
        return sorted(self.folder.glob("*.journal"))

    def read(self, segment: Path) -> Iterator[bytes]:
        """Yield the intact records of a segment."""
        for line in segment.read_bytes().split(b"\n"):
            checksum, _, record = line.partition(b" ")
            if line and checksum == b"%08x" % zlib.crc32(record):
                yield record
            elif line:
                self._journal.spoiled += 1
                log.error("journal line corrupt", segment=str(segment), bytes=len(line))

    def set_aside(self, segment: Path, records: Sequence[bytes]) -> None:
        """Keep records that can't be decoded where they aren't replayed. Raises OSError."""
        _write(segment.with_suffix(_UNREADABLE), [b"%b\n" % record for record in records])

    def keep(self, segment: Path, records: Sequence[bytes]) -> None:
        """Keep only these records of a segment. Raises OSError."""
        _write(segment, list(map(_line, records)))

    def delete(self, segment: Path) -> None:
        """Remove a segment that the ledger has completely. Raises OSError."""
        segment.unlink(missing_ok=True)

    def forget(self) -> None:
        """Remove the folder, unless records were set aside in it. Raises OSError."""
        if not any(self.folder.glob(f"*{_UNREADABLE}")):
            shutil.rmtree(self.folder)
        self.leave()

    def leave(self) -> None:
        """Unlock the folder, so that any process can take over what is still in it."""
        self._lock.close()


def _locked(folder: Path) -> IO[bytes] | None:
    """Lock a folder; None if a living process holds it or it has been removed."""
    try:
        file = (folder / "lock").open("ab")
    except OSError:  # removed, or not ours to read: other folders may be
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    if not folder.exists() or not (folder / "lock").exists():
        file.close()
        return None
    return file


def _line(record: bytes) -> bytes:
    return b"%08x %b\n" % (zlib.crc32(record), record)


def _write(path: Path, lines: Sequence[bytes]) -> None:
    """Write a file, durable and whole or not at all."""
    unfinished = path.with_suffix(".unfinished")
    with unfinished.open("wb") as file:
        file.writelines(lines)
        file.flush()
        os.fdatasync(file.fileno())
    unfinished.rename(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder durable; fdatasync of a file covers only its bytes."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
