"""Attacks on a federation's own learning, each one file, to try what its rules and bounds are worth."""
