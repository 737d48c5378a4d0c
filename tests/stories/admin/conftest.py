"""The back office in Chromium: a gateway, a browser and a database for all stories of a file."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from testing.admin_stories import Office
from testing.gateways import SECRET
from testing.mailbox import put_mail
from testing.marketplace import fill_catalog

COMING = [
    "lab-0/embed-small-0",
    "lab-1/embed-base-1",
    "lab-2/embed-large-2",
    "lab-3/embed-small-3",
]
"""Models that the catalog is filled with: one to edit, one to vote for, two to launch."""
EDITED, WANTED, *LAUNCHED = COMING
LOST = "lost@nowhere.example"
"""Whose mail failed before the stories begin."""


@pytest.fixture(scope="module")
def options() -> dict[str, str]:
    """A launch mails one person at a time, so that there is something left to pause."""
    return {"GATEWAY_LAUNCH_WAVE_MAILS": "1"}


@pytest.fixture(scope="module")
def building(
    chromium: Browser, port: int, database_path: Path, request: pytest.FixtureRequest
) -> Iterator[Office]:
    made = Office(chromium, f"http://127.0.0.1:{port}", f"sqlite:///{database_path}", SECRET)
    made.run(fill_catalog(made.database, len(COMING)))
    made.run(put_mail(made.database, recipient=LOST, subject="A lost mail"))
    request.getfixturevalue("service")  # which starts with what is there
    yield made
    made.close()


@pytest.fixture
def office(building: Office, request: pytest.FixtureRequest) -> Iterator[Office]:
    """The back office of one story, which does what it is marked with."""
    with building.story(*getattr(request.function, "tells", ())):
        yield building
