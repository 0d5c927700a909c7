"""Keeping a federation: copies of its ledger, their way back, and the next generation."""
