"""Which workers there might be. Discovery proposes, the pool verifies.

provider.py       the interface, a fixed list, and how a pool follows any number of providers
dns.py            the addresses of a headless Service
registrations.py  workers that register themselves, signed, and must repeat it
"""
