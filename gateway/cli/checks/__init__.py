"""The questions of `gateway check`: a module for each thing that the service needs.

Each yields its findings. None sends, charges or changes anything, and none shows a secret.
"""
