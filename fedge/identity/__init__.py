"""Identities: keys, signatures, tokens, bundles, and requests to the registrar."""
