"""The router's real core on a virtual clock, against the policies in common use.

clock.py      virtual time
engine.py     a GPU worker: first in, first out, in batches
traffic.py    who asks for what, and when
policies.py   round robin, power of two, least requests, least tokens
router.py     the real dispatcher, as one more policy
scenarios.py  what is compared, and the targets
chart.py      the figures, drawn
"""
