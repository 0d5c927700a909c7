"""What the aggregator decides. Pure: no socket, file, clock, thread, randomness or log inside."""
