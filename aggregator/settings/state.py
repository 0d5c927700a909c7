"""`[state]` of `federation.toml`."""

from pydantic import Field

from fedge.service.settings import LocalPath, Section


class StateSection(Section):
    """`[state]`: what must survive a restart."""

    folder: LocalPath = Field(default="state", validate_default=True)
    """The folder of the ledger. Back it up with `fedge-aggregator backup`."""
    keep_rounds: int = Field(default=20, ge=2)
    """The number of rounds whose updates and models are kept."""
    keep_bytes: int = Field(default=2 * 2**30, ge=1_000_000)
    """The size of the ledger in bytes above which fewer rounds are kept, but at least two."""
