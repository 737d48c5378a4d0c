"""Text in XML: escaped, and without the characters that no document may hold, even escaped."""

from __future__ import annotations

import re
from xml.sax.saxutils import escape

_NEVER = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 doesn't allow: no reader accepts a document with one of them."""


def xml_text(words: str) -> str:
    """Return words as the text of an element, or of an attribute in double quotes."""
    return escape(_NEVER.sub("", words), {'"': "&quot;"})
