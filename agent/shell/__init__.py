"""The device's program at work: it takes events, asks the core, and performs the effects."""
