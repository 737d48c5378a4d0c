"""The file of an organization: lines of JSON, compressed by gzip.

The first line says what it is, the last one what there was: how many lines, their digest, the sums,
and a MAC under GATEWAY_SECRET. A reader goes through it once before it believes anything, so a file
that was cut or changed changes nothing. No line is longer than a bound, whatever it was compressed
to, and one line is held at a time.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from sqlalchemy import Table

from gateway.control_plane.transfers import parts
from gateway.errors import BadRequest
from gateway.keyring import Keyring

FORMAT = "stella-gateway/organization"
VERSION = 2
_READ = (1, VERSION)
"""The first lacks columns: see `parts`."""
CURRENCY = "USD"
LINE_BYTES_MAX = 65_536
_PURPOSE = "organization files"
_TABLES = {str(table.name): table for table in parts.PARTS}


class UnreadableFile(BadRequest):
    """A file that is no organization's, of a newer format, cut, or changed."""

    code = "unreadable_organization_file"


class OtherSecret(BadRequest):
    """A file that was written under another GATEWAY_SECRET."""

    code = "organization_file_of_other_secret"


class FileHeader(msgspec.Struct, frozen=True, kw_only=True):
    """The first line."""

    format: str = FORMAT
    version: int = VERSION
    transfer: str
    """The id of the transfer: the same one is imported once."""
    organization_id: str
    name: str
    closed_at: str
    schema: str
    """The schema it was written from: for people, since the version says how to read it."""
    currency: str = CURRENCY
    unit: str = "nano-dollars"


class FileSums(msgspec.Struct, frozen=True, kw_only=True):
    """What a file's rows add up to; 64-bit numbers are strings there."""

    balance_nanos: str = "0"
    """What is left of the lots, and the sum of the entries."""
    spent_nanos: str = "0"
    charged_nanos: str = "0"
    requests: str = "0"
    inputs: str = "0"
    tokens: str = "0"


class FileFooter(msgspec.Struct, frozen=True, kw_only=True):
    """The last line."""

    rows: dict[str, int]
    sums: FileSums
    sha256: str
    """Of all lines before."""
    mac: str
    """Of that digest, under GATEWAY_SECRET."""


class FileRow(msgspec.Struct, frozen=True, kw_only=True):
    """A line between: a row of a table."""

    table: str
    row: dict[str, Any]


class OrganizationFile:
    """Writes a file line by line; it gets its name once it is whole and on the disk."""

    def __init__(self, path: Path, header: FileHeader, secret: Keyring) -> None:
        self._path = path
        self._secret = secret
        self._unfinished = path.with_name(f"{path.name}.unfinished")
        self._tally = FileTally()
        self._digest = hashlib.sha256()
        descriptor = os.open(self._unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self._raw: BinaryIO = os.fdopen(descriptor, "wb")
        self._file = gzip.GzipFile(fileobj=self._raw, mode="wb", filename="", mtime=0)
        self._line(header)

    def write(self, table: Table, row: Mapping[str, Any]) -> None:
        """Write a row."""
        self._tally.add(table, row)
        self._line(FileRow(table=str(table.name), row=parts.written(row, table)))

    def finish(self) -> FileFooter:
        """Write the last line, and let the file have its name. Raises OSError."""
        digest = self._digest.hexdigest()
        footer = FileFooter(
            rows=self._tally.rows,
            sums=self._tally.sums(),
            sha256=digest,
            mac=self._secret.derive(_PURPOSE).prove(digest),
        )
        self._line(footer)
        self._file.close()
        self._raw.flush()
        os.fsync(self._raw.fileno())
        self._raw.close()
        self._unfinished.rename(self._path)
        return footer

    def drop(self) -> None:
        """Close and remove what is not finished."""
        self._raw.close()
        self._unfinished.unlink(missing_ok=True)

    def _line(self, said: Any) -> None:
        line = msgspec.json.encode(said) + b"\n"
        assert len(line) <= LINE_BYTES_MAX
        self._digest.update(line)
        self._file.write(line)


class FileTally:
    """Counts rows and adds up what must be equal to the nano-dollar."""

    def __init__(self) -> None:
        self.rows = dict.fromkeys(_TABLES, 0)
        self._sums = dict.fromkeys(FileSums.__struct_fields__, 0)
        self._entered = 0

    def add(self, table: Table, row: Mapping[str, Any]) -> None:
        """Add a row."""
        self.rows[table.name] += 1
        if table.name == "credit_lots":
            self._sums["balance_nanos"] += row["remaining_nanos"]
        elif table.name == "ledger_entries":
            self._entered += row["amount_nanos"]
            if row["kind"] == "usage":
                self._sums["spent_nanos"] -= row["amount_nanos"]
        elif table.name == "usage_hours":
            for name in ("charged_nanos", "requests", "inputs", "tokens"):
                self._sums[name] += row[name]

    def sums(self) -> FileSums:
        """Return the sums. Raises UnreadableFile where lots and entries disagree."""
        if self._entered != self._sums["balance_nanos"]:
            raise UnreadableFile(
                f"Its lots hold {self._sums['balance_nanos']} nano-dollars and its entries add up "
                f"to {self._entered}."
            )
        return FileSums(**{name: str(value) for name, value in self._sums.items()})


def checked(path: Path, secret: Keyring) -> tuple[FileHeader, FileFooter, bool]:
    """Read a file through; return its first and last line, and whether it is proven.

    Proven: made under GATEWAY_SECRET. Raises UnreadableFile and OSError.
    """
    tally, digest = FileTally(), hashlib.sha256()
    try:
        with path.open("rb") as raw, gzip.open(raw) as file:
            lines = _lines(file)
            first = next(lines, b"")
            digest.update(first)
            header = _header(first)
            last = b""
            for line in lines:
                if last:
                    digest.update(last)
                    table, row = _row(last)
                    tally.add(table, row)
                last = line
            footer = msgspec.json.decode(last, type=FileFooter)
    except (zlib.error, gzip.BadGzipFile, EOFError, ValueError, KeyError, TypeError) as error:
        raise UnreadableFile(f"{path}: the file is cut or was changed ({error}).") from error
    if footer.sha256 != digest.hexdigest() or footer.rows != tally.rows:
        raise UnreadableFile(f"{path}: the file is cut or was changed.")
    if footer.sums != tally.sums():
        raise UnreadableFile(f"{path}: its sums are not those of its rows.")
    ours = secret.derive(_PURPOSE).accepts(footer.sha256, footer.mac)
    return header, footer, ours


def rows(path: Path) -> Iterator[tuple[Table, dict[str, Any]]]:
    """Yield the rows of a file that was checked."""
    with path.open("rb") as raw, gzip.open(raw) as file:
        lines = _lines(file)
        next(lines)
        last = next(lines)
        for line in lines:
            yield _row(last)
            last = line


def _lines(file: Any) -> Iterator[bytes]:
    while line := file.readline(LINE_BYTES_MAX + 1):
        if len(line) > LINE_BYTES_MAX or not line.endswith(b"\n"):
            raise ValueError("a line is too long or has no end")
        yield line


def _header(line: bytes) -> FileHeader:
    header = msgspec.json.decode(line, type=FileHeader)
    if header.format != FORMAT:
        raise UnreadableFile("The file is not of an organization: see `gateway export`.")
    if header.version not in _READ:
        raise UnreadableFile(
            f"The file is of format {header.version}, written from schema {header.schema}; this "
            f"version reads formats {_READ[0]} to {VERSION}. Import it with the version that wrote "
            "it."
        )
    if (header.currency, header.unit) != (CURRENCY, "nano-dollars"):
        raise UnreadableFile(
            f"Its figures are {header.unit} of {header.currency}; this deployment's are "
            f"nano-dollars of {CURRENCY}."
        )
    return header


def _row(line: bytes) -> tuple[Table, dict[str, Any]]:
    said = msgspec.json.decode(line, type=FileRow)
    table = _TABLES[said.table]
    return table, parts.read(said.row, table)
