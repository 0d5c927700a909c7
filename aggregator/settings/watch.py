"""`[watch]` of `federation.toml`."""

from typing import Self

from pydantic import model_validator

from fedge.service.settings import LocalPath, Section


class WatchSection(Section):
    """`[watch]`: the identity that checks, before the aggregator serves, whether another one is running.

    If the broker makes the certificate's name the client id, the check needs an identity of its own: with the
    aggregator's, it would end the session of an aggregator that is running.
    """

    certificate: LocalPath
    """PEM file of the certificate of `{federation}__watch`."""
    key: LocalPath
    """PEM file of its private key."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in ("certificate", "key"):
            path = getattr(self, name)
            try:
                path.open("rb").close()
            except OSError as error:
                raise ValueError(f"{name}: cannot read the file {path}: {error.strerror}") from None
        return self
