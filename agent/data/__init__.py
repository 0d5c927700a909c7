"""What a task makes of a device's samples, and what is wrong or odd about them."""
