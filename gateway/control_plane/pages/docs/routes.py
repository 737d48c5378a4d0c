"""The documentation, as one wing."""

from __future__ import annotations

from litestar.di import Provide

from gateway.control_plane.pages.docs import docs, programs, search
from gateway.control_plane.pages.docs.manual import PAGES, Manual
from gateway.settings import Settings
from gateway.wings import Wing

PATHS = tuple(f"/docs/{slug}" for slug in PAGES)


def docs_wing(settings: Settings) -> Wing:
    """Return the pages."""
    manual = Manual(settings)
    return Wing(
        "control",
        [
            docs.show_start,
            docs.show_docs,
            programs.read_llms,
            programs.read_llms_full,
            search.show_search,
        ],
        dependencies={"manual": Provide(lambda: manual, sync_to_thread=False)},
    )
