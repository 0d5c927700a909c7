"""What privacy costs in accuracy: a private training of many devices, simulated in one process."""
