"""The tables of a device's memory, in one small SQLite database.

| table   | what it holds                                                                         |
|---------|---------------------------------------------------------------------------------------|
| seen    | one row: the newest (generation, round, attempt) this device has seen                 |
| outbox  | one row: the newest update and its bytes                                              |
| verdict | one row: what became of an update; beside it, so that its bytes are not written again |
| boots   | the last boot ids of this device: their late wills are its own                        |
| signers | one row: the public keys that models were signed with, from the pinned to the newest  |
| moved   | one row: the day, and the bytes that count as moved on it (see `agent.shell.traffic`) |
| told    | one row a source: what surveys say about it (see `agent.data.snapshot`)               |
| states  | two rows at most: an algorithm's current state, and the one that waits for a verdict  |
| personal| one row: the device's own models, and which model it uses                             |
| masked  | one row: the update that was promised in a masked round                               |
| masking | one row: the device's state in secure aggregation                                     |
"""

FILE = "agent.db"
"""The file's name in the state folder."""

MIGRATIONS = (
    """
CREATE TABLE seen (
    one INTEGER PRIMARY KEY CHECK (one = 1), generation INTEGER NOT NULL, round INTEGER NOT NULL,
    proof BLOB NOT NULL
);
CREATE TABLE outbox (
    one INTEGER PRIMARY KEY CHECK (one = 1), generation INTEGER NOT NULL, round INTEGER NOT NULL,
    digest BLOB NOT NULL, proof BLOB NOT NULL, payload BLOB NOT NULL
);
CREATE TABLE verdict (one INTEGER PRIMARY KEY CHECK (one = 1), digest BLOB NOT NULL, verdict TEXT NOT NULL);
CREATE TABLE boots (n INTEGER PRIMARY KEY, boot BLOB NOT NULL)
""",
    """
CREATE TABLE signers (one INTEGER PRIMARY KEY CHECK (one = 1), keys BLOB NOT NULL, proof BLOB NOT NULL)
""",
    "CREATE TABLE moved (one INTEGER PRIMARY KEY CHECK (one = 1), day TEXT NOT NULL, bytes INTEGER NOT NULL)",
    "ALTER TABLE seen ADD COLUMN attempt INTEGER NOT NULL DEFAULT 0",
    "CREATE TABLE told (source TEXT PRIMARY KEY, snapshot BLOB NOT NULL, proof BLOB NOT NULL)",
    """
CREATE TABLE states (
    slot INTEGER PRIMARY KEY CHECK (slot IN (0, 1)), digest BLOB NOT NULL, generation INTEGER NOT NULL,
    round INTEGER NOT NULL, lineage BLOB NOT NULL, proof BLOB NOT NULL, data BLOB NOT NULL
)
""",
    """
CREATE TABLE personal (
    one INTEGER PRIMARY KEY CHECK (one = 1), generation INTEGER NOT NULL, round INTEGER NOT NULL,
    lineage BLOB NOT NULL, task BLOB NOT NULL, base BLOB NOT NULL, name TEXT NOT NULL, chose INTEGER NOT NULL,
    proof BLOB NOT NULL, data BLOB NOT NULL
)
""",
    """
CREATE TABLE masked (
    one INTEGER PRIMARY KEY CHECK (one = 1), generation INTEGER NOT NULL, round INTEGER NOT NULL,
    base BLOB NOT NULL, value_bits INTEGER NOT NULL, clip REAL NOT NULL, weight INTEGER NOT NULL,
    levels BLOB NOT NULL, proof BLOB NOT NULL
);
CREATE TABLE masking (one INTEGER PRIMARY KEY CHECK (one = 1), state BLOB NOT NULL, proof BLOB NOT NULL)
""",
    """
ALTER TABLE masked ADD COLUMN drawn BLOB NOT NULL DEFAULT x'';
ALTER TABLE masked ADD COLUMN promised BLOB NOT NULL DEFAULT x''
""",
)
"""The layouts, from the first on; see docs/state.md."""
