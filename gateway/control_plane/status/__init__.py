"""What the gateway knows of its own service over time."""
