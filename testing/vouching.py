"""The fake worker's golden vectors, with which it passes for the embedded model."""

from backends.fake import vector
from gateway.control_plane.catalog import golden
from gateway.data_plane.metering import tokens
from gateway.data_plane.metering.rows import RowMaker
from gateway.snapshots import GoldenRow

DIMENSIONS = 384


def fake_golden() -> list[GoldenRow]:
    """Return what `gateway workers pin` would record for it, without a process."""
    maker = RowMaker(tokens.load(), dimensions=DIMENSIONS, tokens_max=512, prompt="")
    return [
        GoldenRow(ids=row.ids, vectors={DIMENSIONS: vector(row.ids, DIMENSIONS)})
        for row in maker.from_texts(golden.TEXTS, truncate=None).rows
    ]
