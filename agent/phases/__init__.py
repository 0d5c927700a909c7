"""What a device does in a round, by its phase: one file each (`agent.phases.phase.Phase`)."""
