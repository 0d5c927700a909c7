"""The layers of a network, one a file; `fedge.nn.layer` describes such a file."""
