"""Score an exported model on a file with true answers."""
