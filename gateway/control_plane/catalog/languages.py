"""The names that languages are searched by, and the languages that a model is found by.

A model is found by the languages that a source of its page names. Authors of models for many
languages often say how many, not which: such a model is found as a multilingual one, and by no
language.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

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
NAMED = frozenset(_BY_NAME)
"""Languages that have more names to be searched by."""
_COUNTED = re.compile(r"\d+\+? languages")


def searched_by(languages: Sequence[str], named: Sequence[str] = ()) -> Sequence[str]:
    """Return the words by which a model is found: its languages, and those a source names."""
    words = [_BY_NAME.get(language, language) for language in (*languages, *named)]
    if any(map(_COUNTED.fullmatch, languages)):
        words.append("multilingual")
    return words
