"""The chart as its tests see it: rendered by the real helm.

rendering.py   a set of values, rendered once for each process
schema.py      what values.schema.json says of the gateway's settings
snapshots.py   what each set renders, as files: `make chart` renews them
"""
