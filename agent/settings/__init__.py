"""The sections of `agent.toml`, a file each; `agent.config` is the whole."""
