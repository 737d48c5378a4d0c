"""The names that a language is searched by, and which models a search for one means.

Authors of models for many languages say how many, rarely which. These are the most spoken of the
hundred that multilingual encoders are trained on, so a model of so many is found by each of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

MANY = 70
"""From so many languages on, all of these are taken to be among them."""

_NAMES = (
    "English", "German Deutsch", "French Français Francais", "Spanish Español Espanol Castilian",
    "Italian Italiano", "Portuguese Português Portugues", "Dutch Nederlands", "Polish Polski",
    "Russian Русский", "Ukrainian Українська", "Czech Čeština", "Swedish Svenska", "Danish Dansk",
    "Norwegian Norsk", "Finnish Suomi", "Greek Ελληνικά", "Hungarian Magyar", "Romanian Română",
    "Turkish Türkçe", "Arabic العربية", "Hebrew עברית", "Hindi हिन्दी", "Bengali বাংলা",
    "Chinese Mandarin 中文 汉语", "Japanese 日本語", "Korean 한국어", "Vietnamese Tiếng Việt",
    "Thai ไทย", "Indonesian Bahasa Indonesia",
)  # fmt: skip
_BY_NAME = {names.split()[0]: names for names in _NAMES}
_COUNT = re.compile(r"(\d+)\+? languages")


def reads_many(languages: Iterable[str]) -> bool:
    """Tell whether a model's page counts its languages, and they are many."""
    counts = map(_COUNT.fullmatch, languages)
    return any(int(found[1]) >= MANY for found in counts if found)


def searched_by(languages: Sequence[str]) -> Sequence[str]:
    """Return the words by which a model of these languages is found."""
    if reads_many(languages):
        return [*languages, "multilingual", *_NAMES]
    return [_BY_NAME.get(language, language) for language in languages]
