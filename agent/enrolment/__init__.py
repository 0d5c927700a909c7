"""How a device gets and renews its identity: separate commands; the agent itself needs no `cryptography`."""
