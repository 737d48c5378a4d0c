"""Work that repeats in the background."""
