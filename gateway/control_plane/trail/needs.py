"""What the audits need: someone who looks at what they found, or why they did not run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.attention.needs import Need, Step, tells
from gateway.control_plane.trail.audits import AuditRun, latest

_SUBJECTS = {"ledger": "The books", "trail": "The audit trail"}
_STEPS = {
    "ledger": (Step("Open the books", "/admin/books"),),
    "trail": (Step("Open the trail", "/admin/trail"),),
}

_NAMED_MAX = 3
"""Of what breaks a rule, those that are named here: the step leads to all."""


@tells("An audit found something broken, or the last three did not run.")
async def audit_needs(connection: AsyncConnection, now: datetime) -> list[Need]:
    """Tell which audits found something broken, and which did not run in time."""
    found = await latest(connection)
    return [need for result in found.values() for need in _of(result, now)]


def _of(result: AuditRun, now: datetime) -> list[Need]:
    needs = [
        Need(
            key=f"audit:{result.name}:{name}",
            severity="critical",
            subject=_SUBJECTS[result.name],
            words=f"{name} is broken by {_first(culprits)}",
            since=result.broken_since,
            steps=_STEPS[result.name],
        )
        for name, culprits in sorted(result.breaches.items())
    ]
    if result.due_at < now:
        needs.append(
            Need(
                key=f"audit:{result.name}:late",
                severity="critical",
                subject=_SUBJECTS[result.name],
                words="were not audited on time" if result.name == "ledger" else "is not audited",
                since=result.due_at,
                steps=_STEPS[result.name],
            )
        )
    return needs


def _first(culprits: Sequence[str]) -> str:
    more = len(culprits) - _NAMED_MAX
    return ", ".join(culprits[:_NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
