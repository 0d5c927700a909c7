"""Server optimizers: make the next model from a round's aggregate, one file a method."""
