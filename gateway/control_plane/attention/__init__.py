"""What needs an operator: each domain tells its own, and what was snoozed waits."""
