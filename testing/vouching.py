"""The fake worker's golden vectors, with which it passes for the embedded model."""

from backends.fake import vector
from gateway.control_plane.catalog import golden
from gateway.data_plane.metering import tokens
from gateway.data_plane.metering.rows import make_rows
from gateway.snapshots import GoldenRow

DIMENSIONS = 384


def fake_golden(*dimensions: int) -> list[GoldenRow]:
    """What `gateway workers pin` would record of it, without a process to ask."""
    lengths = dimensions or (DIMENSIONS,)
    rows = make_rows(tokens.load(), golden.TEXTS, dimensions=DIMENSIONS, row_tokens_max=512)
    return [
        GoldenRow(ids=row.ids, vectors={length: vector(row.ids, length) for length in lengths})
        for row in rows.rows
    ]
