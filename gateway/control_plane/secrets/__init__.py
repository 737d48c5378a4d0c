"""The deployment's secret: which one this database was used with, and its rotation."""
