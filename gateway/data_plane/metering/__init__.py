"""What a request costs: its tokens, exactly as the worker computes them, and its credit."""
