"""The ledger's file: its name, its tables, and the migrations from older layouts."""

FILE = "ledger.db"
KEPT = "kept"
"""The kind of round 0 in a generation that began with an earlier model, without a survey."""
GIVEN = "given"
"""The kind of round 0 in a generation whose columns stand in the settings, so that there was no survey."""
MEASURES = "evaluate"
"""The kind of a round that only measured the model of the round before, and closed with it."""
MIGRATIONS = (
    """
CREATE TABLE life (
    one INTEGER PRIMARY KEY CHECK (one = 1), ledger BLOB NOT NULL, generation INTEGER NOT NULL,
    learnt TEXT NOT NULL
);
CREATE TABLE rounds (
    generation INTEGER NOT NULL, round INTEGER NOT NULL, kind TEXT NOT NULL, cohorts TEXT NOT NULL,
    elapsed_s REAL NOT NULL DEFAULT 0, opened_at REAL NOT NULL, closed_at REAL, model BLOB,
    devices INTEGER, samples INTEGER, summary TEXT NOT NULL DEFAULT '{}',
    PRIMARY KEY (generation, round)
);
CREATE TABLE answers (
    generation INTEGER NOT NULL, round INTEGER NOT NULL, lane INTEGER NOT NULL, device TEXT NOT NULL,
    digest BLOB NOT NULL, verdict TEXT NOT NULL, reason TEXT, detail TEXT NOT NULL,
    samples INTEGER NOT NULL, metrics TEXT NOT NULL,
    PRIMARY KEY (generation, round, lane, device)
) WITHOUT ROWID;
CREATE INDEX answers_by_update ON answers (device, digest);
CREATE TABLE frames (
    device TEXT NOT NULL, digest BLOB NOT NULL, i INTEGER NOT NULL, n INTEGER NOT NULL, size INTEGER NOT NULL,
    data BLOB NOT NULL, PRIMARY KEY (device, digest, i)
);
CREATE TABLE contents (
    digest BLOB PRIMARY KEY, kind TEXT NOT NULL, generation INTEGER NOT NULL, round INTEGER NOT NULL,
    data BLOB NOT NULL
);
CREATE TABLE slots (
    kind TEXT NOT NULL, slot INTEGER NOT NULL, digest BLOB NOT NULL, frames INTEGER NOT NULL,
    size INTEGER NOT NULL, PRIMARY KEY (kind, slot)
);
CREATE TABLE devices (
    device TEXT PRIMARY KEY, online INTEGER NOT NULL DEFAULT 0, version TEXT, samples INTEGER, holds BLOB,
    generation INTEGER NOT NULL DEFAULT 0, round INTEGER NOT NULL DEFAULT 0, declined TEXT,
    refused INTEGER NOT NULL DEFAULT 0, last_refusal TEXT
)
""",
    "ALTER TABLE devices ADD COLUMN seen_at REAL",
    """
ALTER TABLE rounds ADD COLUMN attempt INTEGER NOT NULL DEFAULT 0;
UPDATE rounds SET attempt = max(0, json_array_length(cohorts) - 1)
""",
    """
ALTER TABLE rounds ADD COLUMN rule TEXT;
UPDATE rounds SET rule = CASE kind WHEN 'train' THEN 'mean/1' WHEN 'survey' THEN 'survey/1' END
    WHERE closed_at IS NOT NULL
""",
    "ALTER TABLE devices ADD COLUMN can TEXT",
    """
ALTER TABLE devices ADD COLUMN missed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE devices ADD COLUMN missed_in TEXT
""",
    """
CREATE TABLE beginnings (
    generation INTEGER PRIMARY KEY, from_generation INTEGER NOT NULL, from_round INTEGER NOT NULL,
    last_round INTEGER NOT NULL, without TEXT NOT NULL, survey INTEGER, survey_without TEXT NOT NULL
);
ALTER TABLE rounds ADD COLUMN task BLOB;
ALTER TABLE rounds ADD COLUMN forgotten INTEGER NOT NULL DEFAULT 0;
UPDATE rounds SET task = (
    SELECT digest FROM contents WHERE kind = 'task' AND contents.generation = rounds.generation
    ORDER BY contents.round DESC, contents.rowid DESC LIMIT 1
) WHERE closed_at IS NOT NULL AND generation = (SELECT generation FROM life)
""",
    "CREATE TABLE marks (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    """
ALTER TABLE rounds ADD COLUMN quorum INTEGER;
ALTER TABLE devices ADD COLUMN declined_for TEXT;
ALTER TABLE devices ADD COLUMN declined_at REAL
""",
    "ALTER TABLE devices ADD COLUMN uses BLOB",
    """
ALTER TABLE rounds ADD COLUMN parts TEXT;
CREATE TABLE states (
    generation INTEGER NOT NULL, round INTEGER NOT NULL, part TEXT NOT NULL, data BLOB NOT NULL,
    digest BLOB NOT NULL, PRIMARY KEY (generation, round)
)
""",
    "ALTER TABLE answers ADD COLUMN began INTEGER",
    """
ALTER TABLE frames ADD COLUMN segment INTEGER;
ALTER TABLE frames ADD COLUMN offset INTEGER;
ALTER TABLE frames ADD COLUMN length INTEGER
""",
    """
CREATE TABLE codings (
    generation INTEGER NOT NULL, round INTEGER NOT NULL, codec TEXT NOT NULL, coded BLOB NOT NULL, key BLOB,
    errors BLOB NOT NULL, digest BLOB NOT NULL, PRIMARY KEY (generation, round)
)
""",
    """
DROP INDEX answers_by_update;
ALTER TABLE answers RENAME TO answers_before;
CREATE TABLE answers (
    generation INTEGER NOT NULL, round INTEGER NOT NULL, lane INTEGER NOT NULL, device TEXT NOT NULL,
    digest BLOB NOT NULL, verdict TEXT NOT NULL, reason TEXT, detail TEXT NOT NULL,
    samples INTEGER NOT NULL, metrics TEXT NOT NULL, began INTEGER, counted REAL, far REAL, running INTEGER,
    prefix BLOB GENERATED ALWAYS AS (substr(digest, 1, 4)) VIRTUAL
);
INSERT INTO answers SELECT generation, round, lane, device, digest, verdict, reason, detail, samples, metrics,
    began, NULL, NULL, NULL FROM answers_before ORDER BY generation, round, lane, device;
DROP TABLE answers_before;
CREATE INDEX answers_by_device ON answers (device, generation, round, prefix);
CREATE INDEX answers_by_round ON answers (generation, round)
""",
    """
CREATE TABLE masking (
    n INTEGER PRIMARY KEY, generation INTEGER NOT NULL, round INTEGER NOT NULL, device TEXT NOT NULL,
    content BLOB NOT NULL
);
CREATE TABLE masked_sums (
    generation INTEGER NOT NULL, round INTEGER NOT NULL, weight INTEGER NOT NULL, value_bits INTEGER NOT NULL,
    clip REAL NOT NULL, devices TEXT NOT NULL, levels BLOB, digest BLOB NOT NULL,
    PRIMARY KEY (generation, round)
)
""",
    """
CREATE TABLE charges (
    number INTEGER PRIMARY KEY, generation INTEGER NOT NULL, round INTEGER NOT NULL, attempt INTEGER NOT NULL,
    inputs TEXT NOT NULL, digest TEXT NOT NULL
);
CREATE TABLE noise (
    generation INTEGER NOT NULL, round INTEGER NOT NULL, seed BLOB NOT NULL, PRIMARY KEY (generation, round)
)
""",
    """
CREATE TABLE masked_groups (
    generation INTEGER NOT NULL, round INTEGER NOT NULL, place INTEGER NOT NULL, weight INTEGER NOT NULL,
    devices TEXT NOT NULL, levels BLOB NOT NULL, digest BLOB NOT NULL,
    PRIMARY KEY (generation, round, place)
)
""",
    """
ALTER TABLE frames RENAME TO frames_before;
CREATE TABLE frames (
    device TEXT NOT NULL, digest BLOB NOT NULL, i INTEGER NOT NULL, n INTEGER NOT NULL, size INTEGER NOT NULL,
    data BLOB NOT NULL, segment INTEGER, offset INTEGER, length INTEGER,
    prefix BLOB GENERATED ALWAYS AS (substr(digest, 1, 4)) VIRTUAL
);
INSERT INTO frames SELECT device, digest, i, n, size, data, segment, offset, length FROM frames_before
    ORDER BY rowid;
DROP TABLE frames_before;
CREATE INDEX frames_by_update ON frames (device, prefix, i);
CREATE TRIGGER frames_take_places BEFORE INSERT ON frames BEGIN
    DELETE FROM frames WHERE device = new.device AND prefix = substr(new.digest, 1, 4) AND i = new.i
        AND digest = new.digest;
END
""",
)
"""The layouts, from the first on; see docs/state.md."""
NAMES_RULES = 4
"""The first layout whose rounds name the rule that closed them."""
COUNTS_MISSES = 6
"""The first layout that stores how often each device has missed."""
NAMES_TASKS = 7
"""The first layout whose rounds name their task, and that stores what each generation began with."""
HAS_MARKS = 8
"""The first layout with marks."""
TELLS_DECLINES = 9
"""The first layout whose rounds store their quorum, and whose devices store since when they decline."""
TELLS_USES = 10
"""The first layout that stores which model a device predicts with, if it is not the newest that it holds."""
NAMES_PARTS = 11
"""The first layout whose rounds name the parts of their algorithm, and with states of server optimizers."""
TELLS_BEGINNINGS = 12
"""The first layout that stores for which older round an update was made."""
HAS_SEGMENTS = 13
"""The first layout whose frames may be in segments (`fedge.storage.segments`)."""
HAS_CODINGS = 14
"""The first layout with the coded forms of models (`aggregator.aggregation.codings`)."""
TELLS_WEIGHTS = 15
"""The first layout that stores how much an update counted (`aggregator.aggregation.weighed`)."""
HAS_MASKING = 16
"""The first layout with secure aggregation (`aggregator.core.exchange`)."""
HAS_CHARGES = 17
"""The first layout with the charges of a privacy budget and the seeds of noise (docs/privacy.md)."""
HAS_GROUPS = 18
"""The first layout with the sums of groups in masked rounds."""
HAS_PREFIXES = 19
"""The first layout whose index of frames has a prefix of each digest."""
DECLARED = "privacy"
"""The name of the mark that holds the digest of what was declared about privacy."""
ORDER = "order"
"""The name of the mark that holds the id of the order that began the newest generation."""
UNWIPED = "unwiped"
"""The name of the mark of a ledger whose file may still hold removed data."""
RULES_BEFORE = {"train": "mean/1", "survey": "survey/1"}
"""The rule that closed a round of a layout before `NAMES_RULES`, by the round's kind."""
