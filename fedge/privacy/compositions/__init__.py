"""The compositions of releases: each has a function `epsilon(training, delta)`."""
