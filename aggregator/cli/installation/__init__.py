"""Install and remove a federation's server as services, beside Mosquitto."""
