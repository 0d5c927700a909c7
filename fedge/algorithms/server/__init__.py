"""Server optimizers: how a round's aggregate becomes the next model, one file a method."""
