"""What a model's page says: a reviewed data file for each model, under pages/.

The files hold words and history alone. What is sold (state, price, dimensions, prompts, limits)
stays in models.toml and the database, so that a page can't promise what the API does not keep. A
model without a file has a page too: with what the catalogue knows, and nothing made up beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path

import msgspec

from gateway.snapshots import ModelSnapshot

_FOLDER = Path(__file__).parent / "content"


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


class ModelPage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """The words of a model's page; what nobody has written is left out of it.

    There may be ten thousand: nothing in one is looked through for garbage.
    """

    id: str
    title: str
    description: str
    tagline: str = ""
    task: str = "text-embedding"
    task_detail: str = "Text embedding"
    repository: str | None = None
    paper: str | None = None
    published: date | None = None
    updated: date | None = None
    downloads_month: int | None = None
    parameters: str | None = None
    architecture: str | None = None
    languages: tuple[str, ...] = ()
    license_url: str | None = None
    about: tuple[str, ...] = ()
    best_for: tuple[Use, ...] = ()
    not_for: tuple[str, ...] = ()
    faq: tuple[Question, ...] = ()
    related: tuple[Related, ...] = ()


class ReviewedPage(ModelPage, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """A file of `pages/`, in which these may not be missing."""

    tagline: str
    task: str
    task_detail: str
    repository: str
    published: date
    parameters: str
    architecture: str
    languages: tuple[str, ...]
    license_url: str
    about: tuple[str, ...]
    best_for: tuple[Use, ...]
    not_for: tuple[str, ...]
    faq: tuple[Question, ...]


def reviewed() -> Mapping[str, ModelPage]:
    """Read all page files, by the id of their model."""
    pages = [
        msgspec.toml.decode(file.read_bytes(), type=ReviewedPage)
        for file in sorted(_FOLDER.glob("*.toml"))
    ]
    return {page.id: page for page in pages}


def plain(model: ModelSnapshot) -> ModelPage:
    """Return the page of a model that nobody has written about."""
    lengths = ", ".join(map(str, model.dimensions))
    return ModelPage(
        id=model.id,
        title=model.id.rpartition("/")[2],
        description=f"{model.id}, an embedding model of {model.owned_by}: dimensions {lengths}, "
        f"texts of up to {model.tokens_max} tokens, licence {model.license}.",
    )
