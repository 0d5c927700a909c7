"""How a device gets its identity and keeps it: commands of their own; the agent needs no cryptography."""
