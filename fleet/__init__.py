"""Many devices seen together: the command `fedge`."""
