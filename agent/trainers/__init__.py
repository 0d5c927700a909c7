"""Who trains on a device, and what becomes of it: `protocol` is what a trainer of your own has to do."""
