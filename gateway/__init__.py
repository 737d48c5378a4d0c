"""A metered, OpenAI-compatible embeddings gateway.

Two planes: `data_plane` answers requests, in the order of its folders, and never waits for
`control_plane`, which is everything that may be slow. `app` wires them together.
"""

import sys

# structlog imports rich and pygments where they are installed, as they are with Litestar: 5 MB of
# every process and 40 ms of every command, for traces that show local variables. Ours are plain.
if "rich" not in sys.modules:
    sys.modules["rich"] = None  # type: ignore[assignment]
    import structlog  # noqa: F401

    del sys.modules["rich"]
