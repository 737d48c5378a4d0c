"""The documentation, as one wing."""

from __future__ import annotations

from gateway.control_plane.pages.docs import docs
from gateway.wings import Wing

PATHS = tuple(f"/docs/{slug}" for slug in docs.PAGES)


def docs_wing() -> Wing:
    """Return the pages."""
    return Wing("control", [docs.show_start, docs.show_docs])
