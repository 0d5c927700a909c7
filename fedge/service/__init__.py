"""What every program needs to run as a service: settings, logs, the service manager, signs of life."""
