"""Payments through Stripe: buying credit, and what Stripe says of it until the end."""
