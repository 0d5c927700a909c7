"""Queries on a ledger, by table."""
