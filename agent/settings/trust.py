"""`[trust]` of `agent.toml`."""

from fedge.service.settings import LocalPath, Section


class TrustSettings(Section):
    """`[trust]`: which models are accepted."""

    key: LocalPath | None = None
    """PEM file of the public key that must sign announcements. Without it the device accepts any
    announcement."""
