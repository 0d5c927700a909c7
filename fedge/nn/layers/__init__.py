"""The layers of a network, one a file: `fedge.nn.layer` says what is in it."""
