"""What `gateway check` asks: a module for each thing that the service needs.

Each yields its findings; none sends, charges or changes anything, and none shows a secret.
"""
