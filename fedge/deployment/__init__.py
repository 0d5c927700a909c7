"""Installs Fedge as services on Linux with systemd: the code that agent and server have in common.

It needs only the standard library, so that it runs from the wheel itself, before anything is installed.
"""
