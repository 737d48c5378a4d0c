"""How much of the process one caller may use."""
