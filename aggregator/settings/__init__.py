"""The sections of `federation.toml`, a file each; `aggregator.config` is the whole."""
