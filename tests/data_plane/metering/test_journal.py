"""The journal: durable, bounded, replayed by whoever lives, as often as it likes."""

import asyncio
import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.data_plane.metering import journal as journal_module
from gateway.data_plane.metering.engine_rules import EngineRules
from gateway.data_plane.metering.journal import Journal, JournalError
from gateway.data_plane.metering.messages import LedgerUnavailable, UsageLine
from gateway.identifiers import new_id
from testing.gateways import MODEL, Ledger
from testing.ledger import ledger_of, running


def opened(folder: Path, **bounds: int) -> Journal:
    chosen = {"bytes_max": 10_000, "segment_bytes": 100, **bounds}
    journal = Journal(folder, new_id(), **chosen)
    journal.open()
    return journal


def left_by_the_dead(folder: Path, *records: str) -> None:
    """Write a journal in a process that ends without closing it."""
    code = (
        "import os, sys; from pathlib import Path;"
        "from gateway.data_plane.metering.journal import Journal;"
        "j = Journal(Path(sys.argv[1]), sys.argv[2], bytes_max=10**6, segment_bytes=100);"
        "j.open(); [j.append([r.encode()]) for r in sys.argv[3:]]; os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", code, str(folder), new_id(), *records], check=False)


def read_all(journal: Journal) -> list[bytes]:
    found = []
    for abandoned in journal.abandoned():
        for segment in abandoned.segments():
            found += list(abandoned.read(segment))
        abandoned.forget()
    return found


def test_a_disk_that_is_full_leaves_no_empty_segments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    journal = opened(tmp_path, bytes_max=1_000_000)
    journal.append([b"first"])

    def fail(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(os, "fdatasync", fail)
        for _ in range(5):
            with pytest.raises(JournalError, match="No space left"):
                journal.append([b"lost"])
            with pytest.raises(JournalError, match="No space left"):
                journal.probe()
    journal.probe()
    (segment,) = tmp_path.glob("*/*.journal")
    assert segment.read_bytes().endswith(b" first\n")
    assert {file.name for file in segment.parent.iterdir()} == {segment.name, "lock"}
    journal.append([b"second"])
    assert len(list(tmp_path.glob("*/*.journal"))) == 2
    journal.close()


def test_what_the_dead_wrote_is_read_and_what_the_living_write_is_not(tmp_path: Path):
    left_by_the_dead(tmp_path, *(f"record {number}" * 5 for number in range(5)))
    living, reader = opened(tmp_path), opened(tmp_path)
    living.append([b"mine"])
    assert read_all(reader) == [f"record {number}".encode() * 5 for number in range(5)]
    living.close()
    reader.close()


def test_a_folder_is_not_taken_for_a_dead_process_s_before_it_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    other, locked = opened(tmp_path), journal_module._locked
    found: list[object] = []

    def look_first(folder: Path) -> IO[bytes] | None:
        monkeypatch.undo()
        found.extend(other.abandoned())
        return locked(folder)

    monkeypatch.setattr(journal_module, "_locked", look_first)
    journal = opened(tmp_path)
    assert found == []
    journal.close()
    other.close()


def test_a_folder_that_is_not_ours_to_read_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """As when a process of another user left it. Root may read all, so the refusal is made here."""
    left_by_the_dead(tmp_path, "not ours")
    (foreign,) = tmp_path.glob("[!.]*")
    left_by_the_dead(tmp_path, "ours")
    opens = Path.open

    def refuse(path: Path, mode: str = "r") -> IO[Any]:
        if foreign in path.parents:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opens(path, mode)

    reader = opened(tmp_path)
    monkeypatch.setattr(Path, "open", refuse)
    assert read_all(reader) == [b"ours"]
    monkeypatch.undo()
    assert read_all(reader) == [b"not ours"]  # it stays, for somebody who may
    reader.close()


def test_it_is_bounded_and_frees_what_the_ledger_has(tmp_path: Path):
    journal = opened(tmp_path, bytes_max=100)
    segment = journal.append([b"x" * 60])
    with pytest.raises(JournalError, match="full"):
        journal.append([b"x" * 60])
    journal.forget(segment)
    journal.append([b"x" * 60])
    journal.close()


def test_what_is_appended_and_its_file_s_name_are_on_the_disk_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A power cut keeps what was synchronized, and no more."""
    synced: dict[Path, int] = {}
    folders: list[Path] = []

    def where(descriptor: int) -> Path:
        return Path(f"/proc/self/fd/{descriptor}").readlink()

    def fdatasync(descriptor: int) -> None:
        synced[where(descriptor)] = os.fstat(descriptor).st_size

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    monkeypatch.setattr(os, "fsync", lambda descriptor: folders.append(where(descriptor)))
    journal = opened(tmp_path)
    for record in (b"one", b"two"):
        segment = journal.append([record])
        assert synced[segment] == segment.stat().st_size
        assert segment.parent in folders

    def fail(_descriptor: int) -> None:
        raise OSError(errno.EIO, "the disk fails")

    monkeypatch.setattr(os, "fdatasync", fail)
    with pytest.raises(JournalError, match="the disk fails"):
        journal.append([b"three"])
    journal.close()


@given(st.binary(max_size=40), st.integers(0, 200))
def test_a_torn_or_spoiled_end_costs_only_itself(tail: bytes, cut: int):
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        left = opened(folder)
        segment = left.append([b"first", b"second", b"third"])
        whole = segment.read_bytes()
        segment.write_bytes(whole[: min(cut, len(whole))] + tail)
        left._lock.close()  # as its death would
        left._close_segment()
        reader = opened(folder)
        found = read_all(reader)
        reader.close()
        lines = whole.split(b"\n")[:-1]
        complete = sum(cut >= sum(len(line) + 1 for line in lines[: n + 1]) for n in range(3))
        assert found[:complete] == [b"first", b"second", b"third"][:complete]
        assert len(found) <= 3


class Outage:
    """A ledger that can be taken away."""

    def __init__(self, ledger) -> None:
        self.ledger = ledger
        self.away = False

    async def tick(self, tick):
        if self.away:
            raise LedgerUnavailable("away")
        return await self.ledger.tick(tick)

    async def close(self) -> None:
        await self.ledger.close()


async def test_paid_traffic_goes_on_while_the_ledger_is_away(ledger: Ledger, tmp_path: Path):
    await ledger.grant(1_000)
    outage = Outage(ledger_of(ledger.database))
    async with running(ledger.database, tmp_path, ledger=outage) as credit:
        first = ledger.charge(8)
        await credit.reserve(first)
        await credit.settle(first)
        outage.away = True
        for _ in range(5):
            charge = ledger.charge(8)
            await credit.reserve(charge)
            await credit.settle(charge)  # durable in the journal
        assert len(await ledger.usage()) == 1
        outage.away = False
    assert len(await ledger.usage()) == 6
    assert await ledger.breaches() == []
    assert [folder for folder in tmp_path.glob("[!.]*") if folder.is_dir()] == []


async def test_a_journal_replayed_again_and_again_charges_once(ledger: Ledger, tmp_path: Path):
    await ledger.grant(1_000)
    outage = Outage(ledger_of(ledger.database))
    rules = EngineRules(close_seconds=0.1)
    async with running(ledger.database, tmp_path, ledger=outage, rules=rules) as credit:
        for number in range(6):
            charge = ledger.charge(8)
            await credit.reserve(charge)
            outage.away = number > 0
            await credit.settle(charge)
    (folder,) = [folder for folder in tmp_path.glob("[!.]*") if (folder / "lock").exists()]
    copy = {file.name: file.read_bytes() for file in folder.iterdir()}
    for _ in range(3):
        async with running(ledger.database, tmp_path):
            async with asyncio.timeout(10):
                while folder.exists():
                    await asyncio.sleep(0.01)
        assert len(await ledger.usage()) == 6
        assert await ledger.available() == 1_000 - 48
        assert await ledger.breaches() == []
        folder.mkdir()
        for name, data in copy.items():
            (folder / name).write_bytes(data)


async def test_a_segment_that_can_t_be_removed_ends_nothing(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Its disk fails to unlink; the ledger goes on being written, and it is removed later."""
    await ledger.grant(1_000)
    outage = Outage(ledger_of(ledger.database))
    failures, forget = [OSError("read-only")] * 2, Journal.forget

    def fail(journal: Journal, segment: Path) -> None:
        if failures:
            raise failures.pop()
        forget(journal, segment)

    monkeypatch.setattr(Journal, "forget", fail)
    rules = EngineRules(adopt_seconds=0.05)
    async with running(ledger.database, tmp_path, ledger=outage, rules=rules) as credit:
        for away in (False, True, False, False):
            outage.away = away
            charge = ledger.charge(8)
            await credit.reserve(charge)
            await credit.settle(charge)
        async with asyncio.timeout(10):
            while failures or credit.book.unconfirmed:
                await asyncio.sleep(0.01)
        assert len(await ledger.usage()) == 4
    assert await ledger.available() == 1_000 - 32
    assert await ledger.breaches() == []
    assert [folder for folder in tmp_path.glob("[!.]*") if folder.is_dir()] == []


def usage_line(ledger: Ledger) -> UsageLine:
    """A request of 8 nano-dollars, whose lease is gone."""
    return UsageLine(
        request_id=new_id(),
        organization_id=ledger.organization_id,
        key_id=ledger.key_id,
        model_id=MODEL,
        price_id=ledger.price_id,
        inputs=1,
        tokens=1,
        cost_nanos=8,
        lease_id=new_id(),
        budget_id=None,
        budget_lease_id=None,
        created_ms=1_800_000_000_000,
    )


async def test_what_the_dead_answered_is_written_off_where_it_can_t_be_charged(
    ledger: Ledger, tmp_path: Path
):
    folder = tmp_path / "journals"
    left_by_the_dead(folder, msgspec.json.encode(usage_line(ledger)).decode())
    (dead,) = folder.glob("[!.]*")
    async with running(ledger.database, folder), asyncio.timeout(30):
        while dead.exists():
            await asyncio.sleep(0.01)
    assert [row.charged_nanos for row in await ledger.usage()] == [0]


async def test_a_record_that_can_t_be_read_holds_up_no_other(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """It is set aside; the rest is charged once, though a folder refuses to go for a while."""
    await ledger.grant(1_000)
    line = usage_line(ledger)
    left_by_the_dead(tmp_path, '{"of": "another version"}', msgspec.json.encode(line).decode())
    failures, rmtree = [OSError("busy")], shutil.rmtree

    def fail(folder: Path) -> None:
        if failures:
            raise failures.pop()
        rmtree(folder)

    monkeypatch.setattr(shutil, "rmtree", fail)
    (dead,) = [folder for folder in tmp_path.glob("[!.]*") if (folder / "lock").exists()]
    left_by_the_dead(tmp_path, msgspec.json.encode(line).decode())
    async with (
        running(ledger.database, tmp_path, rules=EngineRules(adopt_seconds=0.02)),
        asyncio.timeout(10),
    ):
        while len([f for f in tmp_path.glob("[!.]*") if (f / "lock").exists()]) > 2:
            await asyncio.sleep(0.01)
    assert len(await ledger.usage()) == 1
    assert await ledger.available() == 1_000 - 8
    assert [file.read_bytes() for file in dead.glob("*.unreadable")] == [
        b'{"of": "another version"}\n'
    ]
    assert not list(dead.glob("*.journal"))


async def test_usage_that_a_restored_database_does_not_know_is_set_aside(
    ledger: Ledger, tmp_path: Path
):
    await ledger.grant(1_000)
    line = usage_line(ledger)
    strangers = [
        msgspec.structs.replace(usage_line(ledger), **{name: new_id()})
        for name in ("key_id", "price_id", "organization_id")
    ]
    lines = (msgspec.json.encode(one).decode() for one in (*strangers, line))
    left_by_the_dead(tmp_path, *lines)
    async with running(ledger.database, tmp_path), asyncio.timeout(30):
        while list(tmp_path.glob("*/*.journal")):
            await asyncio.sleep(0.01)
    assert [row.request_id for row in await ledger.usage()] == [line.request_id]
    aside = b"".join(file.read_bytes() for file in sorted(tmp_path.glob("*/*.unreadable")))
    assert [msgspec.json.decode(one, type=UsageLine) for one in aside.splitlines()] == strangers
    assert await ledger.breaches() == []
