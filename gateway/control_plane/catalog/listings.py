"""The catalog as pages show it, computed once per version of the catalog.

Only listings of changed models are computed again: a new price among ten thousand models costs one
listing and a sort.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import msgspec

from gateway.control_plane.catalog import content, edits
from gateway.control_plane.catalog.content import ModelPage
from gateway.control_plane.catalog.languages import searched_by
from gateway.errors import NotFound
from gateway.snapshots import Catalog, ModelSnapshot

QUERY_CHARACTERS_MAX = 200
"""Longest search query."""

_SEPARATORS = re.compile(r"[-_./]+")
_UNDASHED = str.maketrans("", "", "-_.")


class ListingNotFound(NotFound):
    """No model of that name is offered."""

    code = "page_not_found"


class Listing(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A model and the words of its page."""

    model: ModelSnapshot
    page: ModelPage
    text: str
    """The text that a search matches, casefolded."""

    @property
    def path(self) -> str:
        """The path of its page."""
        return f"/models/{self.model.id}"

    @property
    def author(self) -> str:
        """Who publishes it: the first part of its id."""
        return self.model.id.partition("/")[0]

    @property
    def name(self) -> str:
        """Its id without the author."""
        return self.model.id.rpartition("/")[2]


@dataclass(frozen=True)
class Shelf:
    """All listings: live ones first, then by title."""

    listings: tuple[Listing, ...] = ()

    def find(self, model_id: str, *, param: str | None = None) -> Listing:
        """Return a model's listing. Raises ListingNotFound, which blames `param`."""
        listing = self.by_id.get(model_id)
        if listing is None:
            raise ListingNotFound("There is no model of that name here.", param=param)
        return listing

    @property
    def first(self) -> Listing:
        """The model that examples are about. Raises ListingNotFound where there is none."""
        if not self.listings:
            raise ListingNotFound("There is no model here yet.")
        return self.listings[0]

    @cached_property
    def by_id(self) -> Mapping[str, Listing]:
        """The listings by model id."""
        return {listing.model.id: listing for listing in self.listings}

    @cached_property
    def live(self) -> int:
        """The number of live models."""
        return sum(listing.model.state == "live" for listing in self.listings)

    @cached_property
    def lengths(self) -> list[int]:
        """Every dimension that some model offers."""
        return sorted({length for li in self.listings for length in li.model.dimensions})

    @cached_property
    def licenses(self) -> list[str]:
        """Every license that some model has."""
        return sorted({li.model.license for li in self.listings})

    @cached_property
    def terms(self) -> Mapping[str, Sequence[str]]:
        """The ids of the models by each word that their names are made of."""
        found: defaultdict[str, list[str]] = defaultdict(list)
        for listing in self.listings:
            for term in _terms(listing):
                found[term].append(listing.model.id)
        return found

    @cached_property
    def by_author(self) -> Mapping[str, Sequence[Listing]]:
        """The listings by author, in the order of the shelf."""
        found: defaultdict[str, list[Listing]] = defaultdict(list)
        for listing in self.listings:
            found[listing.author].append(listing)
        return dict(found)

    @cached_property
    def cheapest_nanos(self) -> int:
        """The lowest price per million tokens that can be paid now; 0 without a live model."""
        live = (li.model for li in self.listings if li.model.state == "live")
        prices = (model.price.nanos_per_million_tokens for model in live)
        return min(prices, default=0)


class Shelves:
    """Returns the shelf of the current catalog."""

    def __init__(self, catalog: Callable[[], Catalog], words: Mapping[str, ModelPage]) -> None:
        self._catalog = catalog
        self._words = words
        self._of: Catalog | None = None
        self._shelf = Shelf()

    def __call__(self) -> Shelf:
        """Return the current shelf; the same object while the catalog is unchanged."""
        catalog = self._catalog()
        if catalog is not self._of:
            known = self._shelf.by_id
            found = [
                old if (old := known.get(model.id)) and old.model is model else self._listing(model)
                for model in catalog.models.values()
                if model.state != "retired"
            ]
            found.sort(key=lambda li: (li.model.state != "live", li.page.title, li.model.id))
            self._shelf, self._of = Shelf(tuple(found)), catalog
        return self._shelf

    def _listing(self, model: ModelSnapshot) -> Listing:
        page = edits.edited_page(self._words.get(model.id) or content.plain(model), model.words)
        return Listing(model=model, page=page, text=_text(model, page))


def _text(model: ModelSnapshot, page: ModelPage) -> str:
    """Return what a search finds a model by: its names, with and without dashes, and its facts."""
    name = model.id.rpartition("/")[2]
    facts = [
        model.id, name.translate(_UNDASHED), page.title, page.tagline, page.task_detail,
        model.owned_by, model.license, *searched_by(page.languages, page.languages_named),
        page.parameters or "",
        *map(str, model.dimensions), str(model.tokens_max), f"{model.tokens_max:,}",
    ]  # fmt: skip
    return " ".join(facts).casefold()


def _terms(listing: Listing) -> set[str]:
    name = listing.name.casefold()
    parts = _SEPARATORS.split(listing.model.id.casefold())
    return {name, name.translate(_UNDASHED), *parts}
