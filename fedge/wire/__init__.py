"""What travels between devices and aggregator: addresses, envelopes, messages, frames, and their bytes."""
