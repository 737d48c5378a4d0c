"""The documentation, as one wing."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.control_plane.pages.docs import changelog, docs, legal, programs, search
from gateway.control_plane.pages.docs.manual import PAGES, Manual
from gateway.control_plane.web.page_parts import PagePart
from gateway.settings import Settings
from gateway.wings import Operation, Wing


def public_paths(settings: Settings) -> tuple[str, ...]:
    """Return the paths of this wing's pages that search engines may know."""
    legal = (place for place in settings.legal_pages.values() if place.startswith("/"))
    return (*(f"/docs/{slug}" for slug in PAGES), "/changelog", *legal)


def docs_wing(settings: Settings, operations: Sequence[Operation]) -> Wing:
    """Return the pages; `operations` are those of other wings, for the reference."""
    manual = Manual(settings, operations)
    return Wing(
        "control",
        [
            docs.show_start,
            docs.show_docs,
            programs.read_llms,
            programs.read_llms_full,
            search.show_search,
            legal.show_legal,
            legal.show_imprint,
            legal.read_security,
            changelog.show_changelog,
            changelog.read_feed,
        ],
        dependencies={"manual": PagePart(lambda: manual, sync_to_thread=False)},
    )
