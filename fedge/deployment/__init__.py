"""Install Fedge as services on Linux with systemd: what an agent and a server have in common.

It needs only the standard library, so that it runs from the wheel itself, before anything is installed.
"""
