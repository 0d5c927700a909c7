"""Personal models: what a device makes for itself of the shared model; one file each."""
