"""What the tests of pages share: what a form holds and says, and what a page asks of SQL."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from html.parser import HTMLParser

import httpx
from sqlalchemy import event

from gateway.app.process import Process
from tests.control_plane.conftest import STELLA

PATH = f"/models/{STELLA}"
SETTINGS = "/console/settings"
QUERIES_MAX = 10
TRAIL_QUERIES = 3
"""What an entry of the audit trail takes: the newest one, its words, and itself."""
_asking: ContextVar[bool] = ContextVar("asking", default=False)


class Fields(HTMLParser):
    """The fields of a page and what stands in them, and its alerts by their ids.

    The search in the header, which every page has, is none of them.
    """

    def __init__(self, page: httpx.Response) -> None:
        super().__init__()
        self.fields: dict[str, dict[str, str]] = {}
        self.values: dict[str, str] = {}
        self.alerts: dict[str, str] = {}
        self._area = self._alert = ""
        self._in_header = False
        self.feed(page.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {name: value or "" for name, value in attrs}
        # what has no name is not sent, and what is ticked is not typed
        self._in_header |= tag == "header"
        is_field = tag in ("input", "textarea") and said.get("type") not in ("hidden", "checkbox")
        if is_field and "name" in said and not self._in_header:
            self.fields[said["name"]] = said
            self.values[said["name"]] = said.get("value", "")
        self._area = said["name"] if tag == "textarea" else ""
        self._alert = said["id"] if said.get("role") == "alert" else ""

    def handle_data(self, data: str) -> None:
        if self._area:
            self.values[self._area] += data
        if self._alert:
            self.alerts[self._alert] = self.alerts.get(self._alert, "") + data

    def handle_endtag(self, tag: str) -> None:
        self._in_header &= tag != "header"
        self._area = self._alert = ""

    def blamed(self) -> str:
        """Return the one field that is at fault; it says by what."""
        (name,) = [name for name, said in self.fields.items() if "aria-invalid" in said]
        assert set(self.fields[name]["aria-describedby"].split()) & set(self.alerts)
        return name

    def said(self) -> str:
        """Return the one thing that is said of the page's forms."""
        (message,) = self.alerts.values()
        return message


@contextmanager
def counted(gateway: Process) -> Iterator[list[str]]:
    """Collect the statements that are sent to the database from here, and by no job meanwhile."""
    statements: list[str] = []

    def note(_connection, _cursor, statement, *_) -> None:
        if _asking.get() and not statement.startswith(("BEGIN", "PRAGMA")):
            statements.append(statement)

    engine = gateway.core.database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    before = _asking.set(True)
    yield statements
    _asking.reset(before)
    event.remove(engine, "before_cursor_execute", note)
