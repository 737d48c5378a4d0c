"""What tests and benchmarks share: real servers, processes, clients."""
