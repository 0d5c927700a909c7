"""The simulated world: the same programs on virtual time, a virtual broker and virtual disks."""
