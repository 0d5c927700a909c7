"""Fedge as services of a Linux machine with systemd: what installing an agent and a server have in common.

All of it needs the standard library alone, so that it runs out of the wheel itself, before anything is there.
"""
