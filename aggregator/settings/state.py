"""`[state]` of `federation.toml`."""

from pydantic import Field

from fedge.service.settings import LocalPath, Section


class StateSection(Section):
    """`[state]`: what must survive a restart."""

    folder: LocalPath = Field(default="state", validate_default=True)
    """The folder of the ledger; back it up."""
    keep_rounds: int = Field(default=20, ge=2)
    """Updates and models of this many rounds are kept."""
    keep_bytes: int = Field(default=2 * 2**30, ge=1_000_000)
    """Fewer rounds are kept, but never less than two, if the ledger would hold more than this."""
