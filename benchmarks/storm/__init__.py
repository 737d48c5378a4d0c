"""The storm: a deployment of real processes under load, one fault after the other.

Two gateways, PostgreSQL, Valkey and three workers serve many organizations, through a balancer that
follows their readiness, while a fault happens. Every answer is recomputed, and afterwards every
charge is held against what the clients saw. A scenario is a function in `scenarios/`; what is made
of all is docs/storm.md.
"""
