"""Operators: the people who run the service, their roles, and what each role may do."""
