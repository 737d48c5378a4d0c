"""A Stripe that moves no money: for tests, and for `gateway dev`."""
