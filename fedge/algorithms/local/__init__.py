"""Local algorithms: how a device trains on its own samples, as functions on flat vectors."""
