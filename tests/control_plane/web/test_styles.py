"""The style sheets: an open rule swallows all that comes after it, and no page says so."""

from pathlib import Path

import pytest

from gateway.control_plane.web import assets

_SHEETS = sorted((Path(assets.__file__).parent / "static").glob("*.css"))


@pytest.mark.parametrize("sheet", _SHEETS, ids=lambda file: file.name)
def test_every_rule_is_closed_before_the_next_part_begins(sheet: Path):
    depth = 0
    for number, line in enumerate(sheet.read_text().splitlines(), 1):
        assert not (line.startswith("/*") and depth), f"line {number} is inside an open rule"
        depth += line.count("{") - line.count("}")
    assert depth == 0
