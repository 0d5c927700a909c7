"""The phases of a round on a device, one file each (`agent.phases.phase.Phase`)."""
