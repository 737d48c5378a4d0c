"""What clients call. `embeddings.py` is the way of a request, from the key to the answer."""
