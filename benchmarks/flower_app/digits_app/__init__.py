"""The peer: the same network, plan and samples as Fedge's side, as a Flower app without any framework."""
