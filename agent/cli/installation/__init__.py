"""A device's part in a federation is installed and removed as a service."""
