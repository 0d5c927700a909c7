"""Gets and renews a device's identity, by separate commands. The agent itself needs no `cryptography`."""
