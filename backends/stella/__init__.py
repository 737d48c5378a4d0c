"""The Stella GPU worker: NovaSearch/stella_en_400M_v5 in our own PyTorch module.

From request to vector: `app` (HTTP) -> `openai` and `tokenizer` (text only) -> `engine` (the thread
that computes) -> `queue` (fair batches) -> `embedder` (pack, check, heads) -> `model`. At startup,
`worker` goes through `hub` -> `checkpoint` -> `memory` -> `calibration`. Only this package imports
torch.
"""
