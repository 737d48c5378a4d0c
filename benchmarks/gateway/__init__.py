"""The gateway beside others: what a request costs, how long it takes, and where the time goes."""
