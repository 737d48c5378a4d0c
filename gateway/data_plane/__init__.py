"""The hot path, in the order a request walks it: api, auth, limits, metering, routing.

Nothing here waits for the control plane: it reads snapshots, and what it needs of the world is a
port (a protocol class) that `gateway.app` wires.
"""
