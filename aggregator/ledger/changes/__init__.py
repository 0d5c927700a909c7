"""Changes of a ledger, by table or reason."""
