"""The fake worker's golden vectors, with which it passes for the embedded model."""

from backends.fake import vector
from gateway.control_plane.catalog import golden
from gateway.data_plane.metering import tokens
from gateway.data_plane.metering.rows import make_rows
from gateway.snapshots import GoldenRow

DIMENSIONS = 384


def fake_golden() -> list[GoldenRow]:
    """What `gateway workers pin` would record of it, without a process to ask."""
    rows = make_rows(tokens.load(), golden.TEXTS, dimensions=DIMENSIONS, row_tokens_max=512)
    return [
        GoldenRow(ids=row.ids, vectors={DIMENSIONS: vector(row.ids, DIMENSIONS)})
        for row in rows.rows
    ]
