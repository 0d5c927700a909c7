"""JSON lines, and whatever else a file may hold."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedge.errors import DataError
from tests.agent.dialects.reading import NAN, column, read
from tests.wording import assert_tells, telling

# JSON lines


def test_lines_that_are_no_objects(tmp_path: Path) -> None:
    good = '{"u": 1, "v": "2.5", "label": "walk"}\n'
    bad = ['{"u": 1', "[1, 2]", "7", '{"u": 1, "u": 2}', "\0\0\0"]
    samples = read(tmp_path, good * 100 + "\n".join(bad) + "\n" + good)
    assert samples.left_out is not None
    assert (samples.left_out.lines, len(samples.X)) == (5, 101)
    assert_tells(samples.left_out.text, "line 101: ", "JSON object")
    assert column(samples, "v") == [2.5] * 101


def test_keys_that_hold_times_are_no_columns(tmp_path: Path) -> None:
    lines = [json.dumps({f"12:{n // 60:02}:{n % 60:02}": 21.5, "label": "walk"}) for n in range(300)]
    with pytest.raises(DataError, match=telling("301 different keys", "2.0")):
        read(tmp_path, "\n".join(lines) + "\n")
    wide = json.dumps({f"x{n}": n for n in range(300)})
    assert read(tmp_path, f"{wide}\n{wide}\n").X.shape == (2, 300)
    few = "".join(json.dumps({f"x{n % 100}": n}) + "\n" for n in range(200))
    assert read(tmp_path, few).X.shape == (200, 100), "a message for each of a hundred sensors"


def test_truth_is_one_and_a_class_of_its_own(tmp_path: Path) -> None:
    samples = read(tmp_path, '{"on": true, "label": true}\n{"on": false, "label": false}\n')
    assert column(samples, "on") == [1, 0]
    assert samples.y is not None
    assert samples.y.tolist() == ["true", "false"]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.dictionaries(
            st.sampled_from("uvw"),
            st.floats(allow_infinity=False, allow_nan=False, width=32) | st.none(),
            min_size=1,
        ),
        min_size=1,
        max_size=5,
    )
)
def test_json_gives_back_what_was_written(tmp_path: Path, rows: list[dict[str, float | None]]) -> None:
    samples = read(tmp_path, "".join(json.dumps(row) + "\n" for row in rows))
    for j, name in enumerate(samples.columns or ()):
        values = [NAN if row.get(name) is None else row[name] for row in rows]
        np.testing.assert_array_equal(samples.X[:, j], np.array(values, dtype=np.float32))


# Whatever is in a file, it is read or refused


PIECES = (
    *("u", "v", "1", "0,5", "1.5", "1,234", ",", ";", "\t", " ", '"', "\n", "\r\n", "#", "{", "}", "[", "\0"),
    *("TOA5", "#datatype", "sep=;", "LabVIEW Measurement", "***End_of_Header***", "Channels", ":", "\xff"),
    *("entity_id,state,last_changed\n", "u,v\n", "1,2\n", "1;2\n"),
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pieces=st.lists(st.sampled_from(PIECES), max_size=40),
)
def test_nothing_else_is_raised(tmp_path: Path, pieces: list[str]) -> None:
    try:
        samples = read(tmp_path, "".join(pieces).encode("latin-1"))
    except DataError:
        return
    assert samples.columns is not None
    assert samples.X.shape == (sum(rows for _, rows in samples.blocks), len(set(samples.columns)))
    assert samples.lines is not None
    assert len(samples.lines) == len(samples.X)
