"""What clients call: `embeddings` puts the steps of `hot_path` in order, `asgi` serves them."""
