"""Backups of the ledger, restoring them, and beginning the next generation."""
