"""Measurements that people can repeat, none of them a test: `python -m benchmarks.NAME`."""
