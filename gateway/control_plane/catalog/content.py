"""The words of a model's page: a reviewed data file per model, under content/.

The files hold words, and facts with their sources. What is sold (state, price, dimensions, prompts,
limits) is in models.toml and the database, so that a page can't promise what the API does not do.
Every model in models.toml has a file here. A model that an operator added without words has a page
too, with a sentence made from its facts.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from functools import cache
from pathlib import Path
from types import MappingProxyType

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


class FactSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where facts of the page were read, and on which day."""

    what: str
    url: str
    read_on: date


class Quality(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model's scores in one benchmark, out of 100 points; None if not published in full."""

    benchmark: str
    """With its version: scores of different versions can't be compared."""
    mean: float | None = None
    """Over all tasks."""
    retrieval: float | None = None
    read_on: date
    source: str


class AtDimension(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The same scores with vectors of one number of dimensions."""

    dimensions: int
    retrieval: float | None = None
    mean: float | None = None


class ServedAs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How our workers serve a model."""

    precision: str
    engine: str
    revision: str | None = None
    """The revision of the weights, as workers name it."""
    sha256: str | None = None
    """The digest of the file of weights."""
    note: str = ""


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
    """Only shown together with `downloads_read_on`, as the number changes all the time."""
    downloads_read_on: date | None = None
    parameters: str | None = None
    """In short, as its authors write it."""
    parameters_total: int | None = None
    architecture: str | None = None
    languages: tuple[str, ...] = ()
    languages_named: tuple[str, ...] = ()
    """Where `languages` gives a number: those in `languages.NAMED` that a source names."""
    license_url: str | None = None
    commercial_use: bool | None = None
    """Whether the license lets us sell its vectors, and customers use them in business."""
    pooling: str | None = None
    revision: str | None = None
    """The revision of the repository from which the facts were read."""
    quality: Quality | None = None
    by_dimension: tuple[AtDimension, ...] = ()
    by_dimension_benchmark: str | None = None
    by_dimension_source: str | None = None
    served: ServedAs | None = None
    sources: tuple[FactSource, ...] = ()
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
    parameters: str
    parameters_total: int
    architecture: str
    languages: tuple[str, ...]
    license_url: str
    commercial_use: bool
    sources: tuple[FactSource, ...]
    about: tuple[str, ...]
    best_for: tuple[Use, ...]
    not_for: tuple[str, ...]
    faq: tuple[Question, ...]


@cache
def reviewed() -> Mapping[str, ModelPage]:
    """Return the pages of all files, by model id; a process reads them once."""
    return MappingProxyType(read(_FOLDER))


def read(folder: Path) -> dict[str, ModelPage]:
    """Read the files of a folder. Raises msgspec.ValidationError for an invalid one."""
    pages = [
        msgspec.toml.decode(file.read_bytes(), type=ReviewedPage)
        for file in sorted(folder.glob("*.toml"))
    ]
    return {page.id: page for page in pages}


def plain(model: ModelSnapshot) -> ModelPage:
    """Return the page of a model without a file."""
    facts = (
        f"{model.dimensions_default}-dimensional embeddings from {model.owned_by}. "
        f"Reads {model.tokens_max:,} tokens. {model.license}."
    )
    return ModelPage(
        id=model.id, title=model.id.rpartition("/")[2], tagline=facts, description=facts
    )
