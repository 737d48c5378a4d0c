"""What is measured rather than tested: the simulator of the router, and the fault lab."""
