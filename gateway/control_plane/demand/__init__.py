"""Demand for models that are not live: votes, the waitlist, what is recorded of them, launches."""
