"""Training on a device: the worker's thread, the trainer, and what a round contributes."""
