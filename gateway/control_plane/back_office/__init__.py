"""What operators do: the same for the pages under /admin and for the command line.

Each action checks the role and the limits, acts through the domains' own services, and records
itself in the audit trail, in one transaction.
"""
