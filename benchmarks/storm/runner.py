"""Runs one scenario on a deployment of its own, and holds the books against what clients saw."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

import asyncpg
import msgspec

from benchmarks.faults.processes import Fleet
from benchmarks.storm.books import Books, Verdict
from benchmarks.storm.deployment import Deployment
from benchmarks.storm.outcome import Outcome, outcome_of
from benchmarks.storm.record import Record
from benchmarks.storm.registry import Scenario
from benchmarks.storm.storm import Storm
from benchmarks.storm.template import Template
from testing import servers

EVIDENCE = Path("build/storm")
_LOG_BYTES_MAX = 20_000_000


async def run(
    scenario: Scenario, template: Template, workers: Fleet, *, seed: int, seconds: float | None
) -> Outcome:
    """Run a scenario; what it leaves behind is in EVIDENCE if anything is wrong."""
    with tempfile.TemporaryDirectory(prefix="stella-storm-", dir=servers.in_memory()) as name:
        folder = Path(name)
        os.chmod(folder, 0o777)  # noqa: PTH101, S103 - PostgreSQL is another user in there
        deployment = Deployment(folder, workers, scenario.settings)
        storm = Storm(
            deployment,
            Record(list(template.customers)),
            choose=random.Random(f"{seed} {scenario.name}"),
            rate=scenario.rate,
            seconds=seconds,
        )
        verdict = Verdict()
        try:
            async with deployment.running(template):
                async with storm.open():
                    await scenario.run(storm)
                verdict = await _judge(storm)
        except Exception:  # noqa: BLE001 - the other scenarios go on
            verdict.broken.append(traceback.format_exc())
        outcome = outcome_of(scenario, storm, verdict, seed)
        _keep(outcome, storm.record, folder)
    return outcome


async def _judge(storm: Storm) -> Verdict:
    """Stop the gateways, and compare."""
    deployment = storm.deployment
    await deployment.stop_gateways()
    connection = await asyncpg.connect(deployment.postgres.url)
    try:
        verdict = await Books(storm.record, storm.prices_nanos).check(connection)
    finally:
        await connection.close()
    status, said = await deployment.command("audit")
    if status:
        verdict.breaks(f"gateway audit exits with {status}: {said[-2_000:]}")
    left = [path.name for one in deployment.gateways for path in _segments(one.journal)]
    if left:
        verdict.breaks(f"journals that nobody replayed: {left}")
    return verdict


def kept(scenarios: Sequence[Scenario]) -> list[Outcome]:
    """Return the latest outcome of each scenario that was run."""
    files = [EVIDENCE / scenario.name / "outcome.json" for scenario in scenarios]
    return [msgspec.json.decode(file.read_bytes(), type=Outcome) for file in files if file.exists()]


def _segments(journal: Path) -> list[Path]:
    return [path for path in journal.rglob("*") if path.is_file() and path.stat().st_size > 0]


def _keep(outcome: Outcome, record: Record, folder: Path) -> None:
    """Keep the figures; and of what went wrong, the record and the logs."""
    target = EVIDENCE / outcome.name
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    (target / "outcome.json").write_bytes(
        msgspec.json.format(msgspec.json.encode(outcome), indent=1)
    )
    if outcome.holds:
        return
    customers = [(one.organization_id, one.key_id, one.credit_nanos) for one in record.customers]
    (target / "customers.json").write_bytes(msgspec.json.encode(customers))
    with (target / "record.jsonl").open("wb") as out:
        for request in record.requests:
            out.write(msgspec.json.encode(request) + b"\n")
    for log in folder.glob("*.log"):
        with contextlib.suppress(OSError), log.open("rb") as source:
            source.seek(max(0, log.stat().st_size - _LOG_BYTES_MAX))
            (target / log.name).write_bytes(source.read())
