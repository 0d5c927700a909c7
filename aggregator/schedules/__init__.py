"""Schedules: when rounds open and close, and whose updates go into which model; one file each."""
