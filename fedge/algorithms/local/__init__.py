"""Local algorithms: how a device learns from its own samples, as functions on flat vectors."""
