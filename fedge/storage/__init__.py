"""Durable storage: databases, and files that are replaced as a whole."""
