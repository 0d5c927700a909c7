"""What closing a round computes, from the ledger alone."""
