"""Phases: what a round asks of devices, how their messages are judged, and how it closes; one file each."""
