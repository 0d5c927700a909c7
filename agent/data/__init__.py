"""A device's samples as a task needs them, and problems and doubts about them."""
