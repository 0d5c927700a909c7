"""Install and remove a device's part in a federation as a service."""
