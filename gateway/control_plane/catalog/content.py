"""The words of a model's page: a reviewed data file per model, under content/.

The files hold words and history only. What is sold (state, price, dimensions, prompts, limits) is
in models.toml and the database, so that a page can't promise what the API does not do. A model
without a file has a page too, with the facts from the catalog.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path

import msgspec

from gateway.snapshots import ModelSnapshot

_FOLDER = Path(__file__).parent / "content"


class Use(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A use that the model is good at, and why."""

    what: str
    why: str


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A frequent question and its answer."""

    question: str
    answer: str


class Related(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another model of the catalog, and why it may fit better."""

    id: str
    why: str


class ModelPage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """The words of a model's page; empty fields are left out of the page.

    There may be ten thousand of these, so they are not tracked by the garbage collector.
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
    """A file of `content/`, where these fields are required."""

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
    """Read all files, by model id."""
    pages = [
        msgspec.toml.decode(file.read_bytes(), type=ReviewedPage)
        for file in sorted(_FOLDER.glob("*.toml"))
    ]
    return {page.id: page for page in pages}


def plain(model: ModelSnapshot) -> ModelPage:
    """Return the page of a model without a file."""
    lengths = ", ".join(map(str, model.dimensions))
    return ModelPage(
        id=model.id,
        title=model.id.rpartition("/")[2],
        description=f"{model.id}, an embedding model of {model.owned_by}: dimensions {lengths}, "
        f"texts of up to {model.tokens_max} tokens, license {model.license}.",
    )
