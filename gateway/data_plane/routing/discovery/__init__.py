"""Which workers there might be. Discovery proposes, the pool verifies.

provider.py  the interface, and how a pool follows any number of them
static.py    a list in the settings
dns.py       the addresses of a headless Service
leases.py    workers that register themselves, signed, and must keep saying so
"""
