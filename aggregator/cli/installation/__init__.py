"""A federation's server is installed and removed, beside Mosquitto, as services."""
