"""Who belongs to a federation: keys, certificates, and what they may do."""
