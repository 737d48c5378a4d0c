"""The Stella GPU worker: NovaSearch/stella_en_400M_v5 in our own PyTorch module.

From the wire to the vector, one noun a file: `door` (HTTP) -> `tokenizer` (text only) -> `engine`
(the thread that computes) -> `queue` (fair batches) -> `embedder` (pack, guard, heads) -> `model`.
At start-up: `hub` -> `checkpoint` -> `memory` -> `calibration`. torch is imported here alone.
"""
