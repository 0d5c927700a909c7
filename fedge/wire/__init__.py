"""The messages between devices and aggregator: topics, envelopes, types, frames, and their bytes."""
