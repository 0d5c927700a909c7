"""What "durable" means here: databases, and files that change as a whole."""
