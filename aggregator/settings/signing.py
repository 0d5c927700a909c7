"""`[signing]` of `federation.toml`."""

from fedge.service.settings import LocalPath, Section


class SigningSection(Section):
    """`[signing]`: signatures by which devices check where models come from."""

    key: LocalPath | None = None
    """PEM file of the Ed25519 key that signs every announcement; default: nothing is signed."""
