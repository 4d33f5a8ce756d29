"""Schedule, loop, parallelism, checkpoint, watch."""
