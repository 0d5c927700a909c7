"""The device: trains on its own samples and publishes its weights."""
