"""The simulated world: production's programs on virtual time, a virtual broker and virtual disks."""
