"""`fedge try`: find out whether it pays to let these devices learn together, and if not, why."""
