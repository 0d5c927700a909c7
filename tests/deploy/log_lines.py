"""What the programs log at the events that the tests here wait for; each text stands only here."""

import re

COUNTS = "the update counts"
"""A device: its update was admitted."""
NOT_CONNECTED = "not connected"
"""A program: the broker cannot be reached, or does not let it in."""
NOT_DUE = "not yet due"
"""`renew`: the certificate is good for long enough."""
RENEWED = "renewed"
"""`renew`: there is a new certificate."""
STOPPED = "stopped"
"""A program: it ends because it was asked to; the whole line."""
STUCK = "stuck: "
"""A program: a part of it does not answer; the part's name follows."""
CLOSED = "closed"
"""The aggregator: a round is closed; the round is the second word."""
ENROLLED = "enrolled with"
"""The registrar: a device has its first certificate; the claim follows."""
KILLING = "killing the agent"
"""A container with trouble on: its agent is about to be killed."""
ROUND_CLOSED = re.compile(r"round 1\.(\d+): (\w+) closed, (\d+) devices")
"""The aggregator: number, kind and devices of a round that is closed."""
DEVICE = re.compile(r"device (\S+) of federation")
"""A device's first line: its name."""
