"""`[trust]` of `agent.toml`."""

from fedge.service.settings import LocalPath, Section


class TrustSettings(Section):
    """`[trust]`: whose models are taken."""

    key: LocalPath | None = None
    """PEM file of the public key that announcements must be signed with; without it any is taken."""
