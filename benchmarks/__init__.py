"""Measurements that a person runs; none is a test."""
