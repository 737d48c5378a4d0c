"""The command `gateway`, for the people who run the service: one module a noun.

Each command prints for people; those that answer something print JSON with `--json`.
"""
