"""What clients call: `embeddings` puts the steps of `hot_path` in order, `front_door` serves it."""
