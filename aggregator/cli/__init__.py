"""The commands of `fedge-aggregator`."""
