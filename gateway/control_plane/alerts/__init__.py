"""Alerts: what an organization is told of, by mail and by signed webhooks."""
