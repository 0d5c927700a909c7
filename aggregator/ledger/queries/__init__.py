"""What can be asked of a ledger, by the table that answers."""
