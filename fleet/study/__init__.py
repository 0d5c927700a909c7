"""`fedge simulate`: several algorithms side by side, over seeds and one grid of learning rates."""
