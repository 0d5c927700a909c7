"""The wire between devices and aggregator: topics, envelopes, messages, frames, and their bytes."""
