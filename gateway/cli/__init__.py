"""The command `gateway`, for the people who run the service: one module per noun.

Commands print for people; those that answer a question also print JSON with `--json`.
"""
