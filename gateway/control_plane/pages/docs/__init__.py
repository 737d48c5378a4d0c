"""The documentation, printed from the code it describes."""
