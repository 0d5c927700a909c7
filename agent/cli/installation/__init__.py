"""Installs and removes a device's agent as a service."""
