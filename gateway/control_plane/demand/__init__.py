"""Demand for models that are not live yet: votes, waitlist, events, launches and their mails."""
