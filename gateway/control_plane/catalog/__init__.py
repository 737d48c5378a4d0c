"""The catalog: models, their state, their prices over time, and the words of their pages."""
