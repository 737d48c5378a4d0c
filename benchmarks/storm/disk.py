"""A small disk of its own that can be full: a tmpfs, which root may mount."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

_BLOCK = bytes(1 << 16)


class Disk:
    """A folder with room for so many bytes, and no more."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    @classmethod
    @contextlib.contextmanager
    def mounted(cls, folder: Path, size_bytes: int) -> Iterator[Disk]:
        """Mount one until the block ends."""
        folder.mkdir(mode=0o777)
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size_bytes},mode=777", "tmpfs", folder],  # noqa: S607
            check=True,
        )
        try:
            yield cls(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)  # noqa: S607

    @contextlib.asynccontextmanager
    async def full(self) -> AsyncIterator[None]:
        """There is no byte left, until the block ends."""
        self.fill()
        try:
            yield
        finally:
            self.free()

    def fill(self) -> None:
        """Take what is left."""
        with self._ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(_BLOCK):
                pass

    def free(self) -> None:
        """Give it back."""
        self._ballast.unlink(missing_ok=True)
