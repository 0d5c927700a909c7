"""The failpoints of each program, and how often each is passed before a program dies there."""

AGENT = {
    "Subscribe": 1,
    "PublishStatus": 1,
    "Fetch": 1,
    "StopFetching": 1,
    "StartWork": 2,
    "SaveUpdate": 2,
    "PublishUpdate": 2,
    "KeepModel": 2,
    "JudgeModel": 2,
    "UseModel": 2,
    "SaveVerdict": 2,
    "Log": 2,
    "SaveSeen": 1,
}
AGGREGATOR = {
    "SpoolFrame": 5,
    "SaveAnswer": 5,
    "SaveRound": 2,
    "Commit": 12,
    "Acknowledge": 8,
    "SendReceipt": 5,
    "Average": 2,
    "PublishBlobs": 2,
    "PublishManifest": 2,
    "Export": 2,
    "PublishExport": 2,
    "CloseRound": 2,
    "ReadUpdate": 5,
}
"""The points, and at the how-manieth time after a start it is in the middle of a round again."""
RARER = {
    "SaveStatus": 2,
    "ClearSlots": 1,
    "ExportModel": 1,
    "Subscribe": 1,
    "PublishService": 1,
    "DropSpool": 1,
    "CountRefusal": 1,
    "Log": 1,
}
"""The aggregator's at its start, and where it refuses something."""
LAST = {"Complete": 1}
"""The aggregator's when learning is done."""
WAITING = {"SaveElapsed": 1}
"""The aggregator's in a round that lasts."""
KEY_CHANGE = {"SaveSigners", "CancelWork"}
"""An agent's when another key signs, while it is at work for the one before."""
MASKED = {
    "agent": ("SaveState", "RaiseMark", "Send"),
    "aggregator": (
        "ReadMasking",
        "BeginExchange",
        "KeepMasking",
        "EndPhase",
        "DropExchange",
        "SaveNoSum",
        "SendMasking",
    ),
}
"""Those of secure aggregation, which tests/system/test_masked_deaths.py walks."""
NOT_WALKED = {
    # It only closes the connection; it needs another history, and an algorithm that remembers something.
    "agent": {"Disconnect", "ResetState"},
    # It ends the program by itself; it needs a liar (tests/system/test_setting_aside.py), an operator
    # (tests/system/test_way_back.py), who lets deadlines pass (tests/system/test_deadlines.py),
    # or a broker with a smaller limit (tests/system/test_shrinking_limits.py).
    "aggregator": {"Abort", "SetAside", "DropAnswer", "SaveMissed", "MoveContent"},
}
"""docs/reliability.md, "Not covered", says what tests them instead."""


def points(names: dict[str, int]) -> list[str]:
    return [f"{name}.{when}:{nth}" for name, nth in names.items() for when in ("before", "after")]
