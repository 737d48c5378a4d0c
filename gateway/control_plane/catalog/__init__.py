"""The catalogue: which models there are, their state, and the versions of their prices."""
