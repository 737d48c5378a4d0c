"""`python -m testing.chart [schema]`: renews the schema of settings, and the snapshots."""

import sys

from testing.chart import rendering, schema, snapshots


def main() -> None:
    """Write them."""
    schema.FILE.write_text(schema.renewed())
    if sys.argv[1:] == ["schema"]:
        return
    for name in rendering.names():
        snapshots.file(name).write_text(snapshots.taken(name))


main()
