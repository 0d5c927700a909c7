"""What can be changed in a ledger, by table or reason."""
