"""The addresses of all pages of the back office, over a crowd (testing/crowd.py)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from litestar import Litestar
from sqlalchemy import text

from gateway.control_plane.pages.admin.sheets import SHEETS
from gateway.storage.database import Database
from testing.gateways import STELLA

_QUERIES = {
    "/admin/search": ["q=person-7@domain-7.example", "q=Organization+77", "q=sk-", "q=pi_51"],
    "/admin/mail": ["", "state=failed", "to=person-6@domain-6.example", "format=csv"],
    "/admin/events": ["", "state=given_up", "about=pi_51"],
    "/admin/traffic": ["", "hours=24", "hours=168"],
    "/admin/waitlist": ["", "q=domain-21.example", f"model={STELLA}"],
    "/admin/workers/worker": ["url=http%3A%2F%2F10.0.0.1%3A8080"],
    "/admin/trail": ["", "action=mail.resent"],
}
"""What is asked of pages beside their bare address."""
LEFT_OUT = frozenset({"/admin/enroll", "/admin/verify", "/admin/snooze"})
"""Pages that need something to be under way: an enrollment, a sign-in, a need."""


async def examples(database: Database) -> dict[str, list[str]]:
    """Return what stands in the addresses' parts, for a crowd in this database."""
    named = text(
        "SELECT crowd_id('owner', 7), crowd_id('mail', 6), crowd_id('incident', 7), "
        "crowd_id('request', 70007)"
    )
    async with database.read() as connection:
        organization_id, mail_id, incident_id, request_id = (await connection.execute(named)).one()
    owner, _, name = STELLA.partition("/")
    return {
        "organization_id": [str(organization_id)],
        "tab": list(SHEETS),
        "mail_id": [str(mail_id)],
        "event_id": ["evt_51"],
        "incident_id": [str(incident_id)],
        "request_id": [str(request_id)],
        "owner": [owner],
        "name": [name],
    }


def addresses(app: Litestar, examples: Mapping[str, list[str]]) -> Iterator[str]:
    """Return the addresses of all pages under /admin, with examples for what stands in them.

    Raises KeyError for a part that has no example: a new page needs one in `examples`.
    """
    for route in sorted(app.routes, key=lambda route: route.path):
        path = route.path
        if not path.startswith("/admin") or "GET" not in getattr(route, "methods", ()):
            continue
        if path in LEFT_OUT:
            continue
        found = [path]
        for part in getattr(route, "path_components", ()):
            if not isinstance(part, str):
                written = "{" + part.full + "}"
                found = [one.replace(written, value) for one in found
                         for value in examples[part.name]]  # fmt: skip
        for one in found:
            for query in _QUERIES.get(path, [""]):
                yield f"{one}?{query}" if query else one
