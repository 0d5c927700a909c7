"""The words of the programs' logs that tests wait for or count.

Here are only words for which no other fact can be read from outside. Where there is one, tests take that:
the retained messages (`tests/system/wiretap.py`), the ledger and the device's database
(`tests/system/fleet_of_processes.py`), `--json`, metrics, exit codes.
`tests/test_milestones.py` fails when the programs have other words.
"""

CONNECTED = "connected to"
"""An agent or the aggregator, each time that the broker has accepted it; the broker's URL follows."""
NOT_CONNECTED = "not connected"
"""Any program, each time that a connection has ended or was refused; the reason follows."""
LISTENING = " connected\n"
"""`fedge registrar`, each time that the broker has accepted it: the end of a line."""
STOPPED = "stopped"
"""Any program, as its last line, when it was asked to end."""
LEARNING_DONE = "learning is done"
"""The aggregator, when the stopping rule has come true; once more in each life after that."""
GIVES_WAY = "giving way to it"
"""The aggregator, when it ends because another one serves the federation."""
WATCHES = "watching whether it is running"
"""The aggregator, when it begins to watch another one that is said to be online."""
COUNTS = "the update counts"
"""The agent, when its update was admitted."""
IGNORED = "ignored an announcement"
"""The agent, when an announcement is older than what it has seen."""
ENROLLED = "enrolled with"
"""`fedge registrar`, when a device has its first certificate by a token."""
IDENTITY = r"device (\S+) of federation"
"""The agent, when it starts; a regular expression whose group is the device's name."""
STUCK = "stuck: "
"""Any program, when one of its threads has not reported in time; the thread's name follows."""
NOT_DUE = "not yet due"
"""`fedge-agent renew`, when the certificate is valid for long enough."""
RENEWED = "renewed"
"""`fedge-agent renew`, when there is a new certificate."""


def begins(kind: str) -> str:
    """The agent, when it begins to work for a round of this kind."""
    return f"{kind} begins"


def closed(kind: str) -> str:
    """The aggregator, when a round of this kind is closed."""
    return f"{kind} closed"
