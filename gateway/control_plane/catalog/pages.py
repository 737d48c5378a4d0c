"""What a model's page says: a reviewed data file for each model, under pages/.

The files hold words and history alone. What is sold (state, price, dimensions, prompts, limits)
stays in models.toml and the database, so that a page can't promise what the API does not keep.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path

import msgspec

_FOLDER = Path(__file__).parent / "pages"


class Use(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something that the model is good at, and why."""

    what: str
    why: str


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A question that people ask, and its answer."""

    question: str
    answer: str


class Related(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another model of the catalogue, and why one would look at it."""

    id: str
    why: str


class ModelPage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The words of a model's page."""

    id: str
    title: str
    tagline: str
    description: str
    task: str
    task_detail: str
    repository: str
    paper: str | None = None
    published: date
    updated: date | None = None
    downloads_month: int | None = None
    parameters: str
    architecture: str
    languages: list[str]
    license_url: str
    about: list[str]
    best_for: list[Use]
    not_for: list[str]
    faq: list[Question]
    related: list[Related] = []


def reviewed() -> Mapping[str, ModelPage]:
    """Read all page files, by the id of their model."""
    pages = [
        msgspec.toml.decode(file.read_bytes(), type=ModelPage)
        for file in sorted(_FOLDER.glob("*.toml"))
    ]
    return {page.id: page for page in pages}
