"""The sections of `agent.toml`, one module each; `agent.config` combines them."""
