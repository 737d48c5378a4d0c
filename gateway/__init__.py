"""A metered, OpenAI-compatible embeddings gateway.

Two planes: `data_plane` answers requests, in the order of its folders, and never waits for
`control_plane`, which is everything that may be slow. `app` wires them together.
"""
