"""What a device decides. Pure: no socket, file, clock, thread, randomness or log inside."""
