"""The tests' side of the stand-ins: starts one, sets its faults, reads its calls."""

import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx

from testing.processes import running


@dataclass
class Engine:
    """A running stand-in."""

    kind: str
    base: str

    def url(self, prefix: str = "", **options: Any) -> str:
        return f"{self.kind}+{self.base}{prefix}?{urlencode(options)}"

    @contextlib.asynccontextmanager
    async def fault(self, kind: str, times: int = -1) -> AsyncIterator[httpx.AsyncClient]:
        """Make calls fail until the block ends."""
        async with httpx.AsyncClient(base_url=self.base, timeout=20) as control:
            await control.put("/fault", json={"kind": kind, "times": times})
            try:
                yield control
            finally:
                await control.delete("/fault")

    async def seen(self) -> list[dict[str, Any]]:
        """The calls so far, oldest first."""
        async with httpx.AsyncClient(base_url=self.base) as control:
            return (await control.get("/seen")).json()


@contextlib.contextmanager
def engine(kind: str, module: str, vocabulary: Path, *arguments: str) -> Iterator[Engine]:
    """Run `tests.backends.standins.<module>` as its own process."""
    name = f"tests.backends.standins.{module}"
    with running(name, "--vocabulary", str(vocabulary), *arguments) as process:
        yield Engine(kind, process.url)
