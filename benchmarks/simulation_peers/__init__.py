"""The peers of `benchmarks.simulate`: each is a script for the Python of its own environment."""
