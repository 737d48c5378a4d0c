"""Grafana's dashboards, written as Python: `python -m testing.dashboards` prints them as JSON."""
