"""Reading a program's database while it runs."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any


def query(path: Path, statement: str, *values: object) -> list[Any]:
    """Read a program's database while it runs; nothing while there is none."""
    if not path.exists():
        return []
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        try:
            return db.execute(statement, values).fetchall()
        except sqlite3.OperationalError as error:  # the program is about to make its tables
            if "no such table" in str(error):
                return []
            raise
