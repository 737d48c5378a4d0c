"""Each table and each column either is in an organization's file, or is said to stay behind."""

from gateway.control_plane.transfers.parts import LEFT, PARTS, STAYING
from gateway.storage.tables import metadata


def test_nobody_forgets_a_table_or_a_column():
    staying = " ".join(STAYING.values()).split()
    assert sorted([*staying, *(table.name for table in PARTS)]) == sorted(metadata.tables)
    assert PARTS.keys() == LEFT.keys()
    for table, names in PARTS.items():
        columns = {column.name for column in table.columns}
        assert sorted([*names, *LEFT[table]]) == sorted(columns), table.name


def test_references_come_before_what_refers_to_them():
    seen: set[str] = set()
    for table, names in PARTS.items():
        seen.add(table.name)
        for key in table.foreign_keys:
            assert key.column.table.name in seen or key.parent.name not in names, key
