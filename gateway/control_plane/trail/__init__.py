"""The audit trail: who did what, when, from where and why, in a chain that shows any change."""
