"""`[signing]` of `federation.toml`."""

from fedge.service.settings import LocalPath, Section


class SigningSection(Section):
    """`[signing]`: so that devices can tell whose models they take."""

    key: LocalPath | None = None
    """PEM file of the Ed25519 key that signs every announcement; without it nothing is signed."""
