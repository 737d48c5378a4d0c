"""What a person measures rather than tests: the worker, and the router in a simulator and a lab."""
