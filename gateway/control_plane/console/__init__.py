"""The developer's console: what an organization has, used and may do."""
