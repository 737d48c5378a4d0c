"""Stock engines as they really behave, but without a model: one process each.

Written from what was read in the engines' sources, not from what the adapters would like. Each
makes its vectors from the ids that *it* computed, after its own tokenising, so a test that knows
the row's ids knows what must come back (`vectors.normalised`, `vectors.pooled`).
"""
