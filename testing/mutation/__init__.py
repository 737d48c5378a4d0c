"""Mutation testing: does a test fail when one line of the heart is changed?

`changes` finds what can be changed, `tracing` which tests run each line, `trial` changes one thing
in a copy of the tree and runs its tests, `page` writes docs/benchmarks/mutation.md.
"""
