"""The search of the site: sections of the documentation and other public pages, ranked by BM25.

The index is made once, in memory: some hundred sections. Words count as their stems, and some are
taken for others that developers use for the same thing; a section whose title has a word counts
more than one whose text has it.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

WORDS_MAX = 12
"""Most words of a query that are looked at."""
FOUND_MAX = 12
"""Most results."""
_PER_PAGE = 2
_SNIPPET_WORDS = 28
_TITLE, _HEADING, _HINT = 4, 5, 2
"""How often a word of the page's title, a section's heading and the hints counts."""
_K, _B = 1.2, 0.6
_RELATED = 0.4
"""What a word counts that was not typed but means the same."""
_WORD = re.compile(r"\w+")
_STOP = frozenset(
    (  # noqa: SIM905 - a sentence is easier to read than a list
        "a about an and are as at be by can do does for from get has have how i in is it me mean "
        "means my of on or our should so that the their there they this to us use was we what when "
        "where which who whose why will with you your"
    ).split()
)
_SAME = (
    {"price", "cost", "charge", "bill", "pay", "dollar", "pricing", "fee", "money"},
    {"uptime", "availability", "outage", "downtime", "incident", "status", "sla"},
    {"latency", "speed", "slow", "fast", "p50", "p95", "throughput"},
    {"limit", "quota", "429", "throttle", "rpm", "tpm", "rate"},
    {"402", "insufficient_quota", "credit", "balance", "funds"},
    {"key", "secret", "apikey", "auth", "authentication", "401"},
    {"migrate", "switch", "move", "openai", "replace"},
    {"retry", "timeout", "backoff", "idempotency"},
    {"company", "seller", "owner", "legal", "contact", "imprint", "address", "support", "email"},
    {"imprint", "impressum"},
    {"privacy", "gdpr", "data", "retention", "store", "kept", "log"},
    {"corpus", "document", "calculator", "estimate"},
    {"matryoshka", "dimension", "truncate", "shorten", "storage", "size"},
    {"postgres", "postgresql", "pgvector", "sql"},
    {"rag", "retrieval", "search"},
    {"batch", "bulk", "many"},
    {"long", "context", "length", "max", "maximum", "exceed"},
    {"evaluate", "benchmark", "quality", "recall", "accuracy", "test"},
    {"refund", "term", "invoice"},
    {"vat", "tax"},
    {"receipt", "signature", "verify", "proof"},
    {"budget", "cap", "spend"},
)


class Entry(NamedTuple):
    """A place to find: a section of a page, or a page."""

    page: str
    """The page's title."""
    title: str
    """The section's; empty for the page itself."""
    address: str
    words: str
    hints: str = ""
    """Words that people look for it with, which it may not have."""


class Found(NamedTuple):
    """A result."""

    entry: Entry
    snippet: Markup


class Index:
    """All entries, ready to be searched."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries = tuple(entries)
        self._counts = [_counts(entry) for entry in self._entries]
        self._lengths = [sum(count.values()) for count in self._counts]
        self._mean = sum(self._lengths) / max(len(self._lengths), 1)
        held = Counter(word for count in self._counts for word in count)
        self._rarity = {
            word: math.log(1 + (len(self._entries) - number + 0.5) / (number + 0.5))
            for word, number in held.items()
        }

    def search(self, query: str) -> Sequence[Found]:
        """Return the entries that fit a query best; at most two of a page."""
        wanted = list(dict.fromkeys(stems(query)))[:WORDS_MAX]
        weights = dict.fromkeys(wanted, 1.0)
        for word in wanted:
            for other in _RELATIONS.get(word, ()):
                weights.setdefault(other, _RELATED)
        scored = [
            (score, place)
            for place in range(len(self._entries))
            if (score := self._score(place, wanted, weights))
        ]
        return list(self._best(sorted(scored, key=lambda each: (-each[0], each[1])), weights))

    def _score(self, place: int, wanted: Sequence[str], weights: Mapping[str, float]) -> float:
        counts = self._counts[place]
        norm = _K * (1 - _B + _B * self._lengths[place] / self._mean)
        score, has = 0.0, 0.0
        for word in wanted:
            alike = [other for other in (word, *_RELATIONS.get(word, ())) if other in counts]
            if not alike:
                continue
            # the best of them, not their sum: many words like it don't outdo the word itself
            score += max(
                weights[other] * self._rarity[other] * counts[other] / (counts[other] + norm)
                for other in alike
            )
            has += 1.0 if word in counts else _RELATED
        return score * (has / max(len(wanted), 1)) ** 2

    def _best(
        self, scored: Iterable[tuple[float, int]], weights: Mapping[str, float]
    ) -> Iterator[Found]:
        shown: Counter[str] = Counter()
        for _, place in scored:
            entry = self._entries[place]
            shown[entry.page] += 1
            if shown[entry.page] <= _PER_PAGE:
                yield Found(entry, marked(entry.words, weights))
            if sum(min(number, _PER_PAGE) for number in shown.values()) >= FOUND_MAX:
                return


def stems(text: str) -> list[str]:
    """Return the words of a text that mean something, each as what its forms have in common."""
    found: list[str] = []
    for word in _WORD.findall(text.casefold()):
        if word in _STOP:
            continue
        found.append(_stem(word))
        if "_" in word:
            found += [_stem(part) for part in word.split("_") if part]
    return found


def _stem(word: str) -> str:
    for ending, rest in (("ies", "y"), ("ing", ""), ("ed", ""), ("es", ""), ("s", ""), ("e", "")):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            return word[: -len(ending)] + rest
    return word


def _relations() -> Mapping[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for group in _SAME:
        same = frozenset(_stem(word) for word in group)
        for word in same:
            found[word] = found.get(word, frozenset()) | same - {word}
    return found


_RELATIONS = _relations()


def _counts(entry: Entry) -> Counter[str]:
    counts = Counter(stems(entry.words))
    titles = (entry.page, _TITLE), (entry.title or entry.page, _HEADING)
    for text, times in (*titles, (entry.hints, _HINT)):
        for word in stems(text):
            counts[word] += times
    return counts


def marked(text: str, weights: Mapping[str, float]) -> Markup:
    """Return the part of a text that has most of the words, which are marked."""
    words = text.split()
    hits = [max((weights.get(stem, 0.0) for stem in stems(word)), default=0.0) for word in words]
    last = max(len(words) - _SNIPPET_WORDS, 0)
    start = max(range(last + 1), key=lambda at: (sum(hits[at : at + _SNIPPET_WORDS]), -at))
    start = max(start - 4, 0) if sum(hits) else 0
    shown = range(start, min(start + _SNIPPET_WORDS, len(words)))
    parts = [
        Markup("<mark>{}</mark>").format(words[at]) if hits[at] == 1.0 else escape(words[at])
        for at in shown
    ]
    before, after = "… " * (start > 0), " …" * (shown.stop < len(words))
    return escape(before) + Markup(" ").join(parts) + escape(after)
