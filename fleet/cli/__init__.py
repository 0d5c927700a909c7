"""The commands of `fedge`."""
