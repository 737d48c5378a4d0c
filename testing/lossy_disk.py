"""A disk that keeps what was synchronized and no more, as one does whose power is cut.

`lose_unsynced(platter)` in a process notes there what each fsync and fdatasync makes durable: the
bytes of a file, or the names in a folder. Once the process is killed, `power_cut` makes the folder
as it would be found: without the bytes, the names and the whole folders that nobody synchronized.
"""

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path


def lose_unsynced(platter: Path, *, ignored: str = "") -> None:
    """Begin; a call of os that is `ignored` makes nothing durable."""
    platter.mkdir(exist_ok=True)
    for name in ("fsync", "fdatasync"):
        if name != ignored:
            setattr(os, name, _noting(platter, getattr(os, name)))


def power_cut(folder: Path, platter: Path, left: Path) -> Path:
    """Write to `left` what is left of a folder, which itself was there before."""
    _rebuild(folder.stat().st_ino, platter, left)
    return left


def _noting(platter: Path, synchronize: Callable[[int], None]) -> Callable[[int], None]:
    def note(descriptor: int) -> None:
        synchronize(descriptor)
        about = os.fstat(descriptor)
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if stat.S_ISDIR(about.st_mode):
            names = {entry.name: [entry.inode(), entry.is_dir()] for entry in os.scandir(path)}
            _write(platter / f"{about.st_ino}.names", json.dumps(names).encode())
        else:
            _write(platter / f"{about.st_ino}.bytes", path.read_bytes())

    return note


def _write(file: Path, data: bytes) -> None:
    """Write a file at once or not at all: the process may be killed at any time."""
    half = file.with_suffix(".half")
    half.write_bytes(data)
    half.rename(file)


def _rebuild(inode: int, platter: Path, target: Path) -> None:
    target.mkdir()
    known = platter / f"{inode}.names"
    names = json.loads(known.read_bytes()) if known.exists() else {}
    for name, (found, is_folder) in names.items():
        if is_folder:
            _rebuild(found, platter, target / name)
        else:
            data = platter / f"{found}.bytes"
            (target / name).write_bytes(data.read_bytes() if data.exists() else b"")
