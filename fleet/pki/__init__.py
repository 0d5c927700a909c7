"""The public key infrastructure of a federation: members, keys, certificates, and access rights."""
