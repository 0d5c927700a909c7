"""The signs of a CSV, for decimals and between cells; none is chosen silently."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.data.assessment import assess
from agent.settings.data import DataSettings
from agent.sources.decimals import Style
from fedge.errors import DataError
from tests.agent.dialects.reading import NAN, column, read
from tests.wording import assert_tells, telling

# Decimal and thousands


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["0,5", "1,234"], [0.5, 1.234]),
        (["-3,27", "1.234"], [-3.27, None]),
        (["12,3456", "1.234,5"], [12.3456, 1234.5]),
        (["1.234.567", "1,5"], [1234567, 1.5]),
        (["0.5", "1.234"], [0.5, 1.234]),
        (["21.7", "1,234"], [21.7, None]),
        (["1,234.5", "1,234"], [1234.5, 1234]),
        (["1,234,567", "0.5"], [1234567, 0.5]),
        (["1,234", "7"], [None, 7]),
        (["1.234", "7"], [None, 7]),
        (["1,234e1", "7"], [12.34, 7]),
        (["+0,25", ""], [0.25, NAN]),
    ],
)
def test_a_cell_that_proves_it_decides_for_its_file(
    tmp_path: Path, cells: list[str], values: list[float | None]
) -> None:
    samples = read(tmp_path, "u;v\n" + "".join(f"{cell};1\n" for cell in cells))
    if None not in values:
        np.testing.assert_array_equal(
            samples.X[:, 0], np.array([value for value in values if value is not None], dtype=np.float32)
        )
        return
    assert "[data] decimal" in samples.faults[0].text, "both readings are possible, so none is taken"
    assert not any("[data] decimal" in sentence for sentence in samples.reading), "the column's fault says it"
    judged = assess(samples, DataSettings(), None)
    assert ["[data] decimal" in str(one) for one in judged.warnings if one.kind == "cannot be used"] == [True]


def test_one_column_proves_it_for_another_but_two_signs_do_not_mix(tmp_path: Path) -> None:
    samples = read(tmp_path, "u;v\n1,234;0,5\n2,345;1\n")
    assert column(samples, "u") == [1.234, 2.345]
    samples = read(tmp_path, "u;v;w\n1,234;0,5;0.5\n2,345;1;7.25\n")
    assert column(samples, "v") == [0.5, 1], "each column by its own cells"
    assert column(samples, "w") == [0.5, 7.25]
    assert_tells(samples.faults[0].text, "decimal comma")
    (told,) = (sentence for sentence in samples.reading if "decimal" in sentence and "'v'" in sentence)
    assert_tells(told, "'v' in line 2", "'w' in line 2")
    both = read(tmp_path, "u;v\n0,5;1\n0.5;1\n")
    assert_tells(both.faults[0].what, "commas", "points", "line 3")


def test_one_comma_among_points_is_one_bad_cell(tmp_path: Path) -> None:
    samples = read(tmp_path, 'u,v\n0.5,1\n"0,5",1\n1.234,1\n')
    np.testing.assert_array_equal(samples.X[:, 0], np.array([0.5, NAN, 1.234], dtype=np.float32))
    assert samples.faults == {}
    assert_tells(samples.unread[0].first.what, "number", "point")


def test_an_address_decides_for_no_other_column(tmp_path: Path) -> None:
    rows = "".join(f'192.168.100.{n},2{n % 3}.37{n % 9},"in, out"\n' for n in range(100, 130))
    samples = read(tmp_path, "address,heat,where\n" + rows)
    assert column(samples, "heat")[:2] == [21.371, 22.372], "as ever between commas"
    samples = read(tmp_path, "heat;version\n21.375;1.100.200\n22.125;1.100.201\n")
    assert "[data] decimal" in samples.faults[0].text
    samples = read(tmp_path, "heat;rain;version\n21.375;0,5;1.100.200\n22.125;1,5;1.100.201\n")
    assert "[data] decimal" in samples.faults[0].text, "commas are proven, but no points between thousands"
    assert column(samples, "rain") == [0.5, 1.5]


def test_what_is_said_is_not_looked_for(tmp_path: Path) -> None:
    text = "u;v\n1,234;2.345\n"
    assert column(read(tmp_path, text, decimal=","), "u") == [1.234]
    assert column(read(tmp_path, text, decimal=","), "v") == [2345]
    assert column(read(tmp_path, text, decimal="."), "u") == [1234]
    assert column(read(tmp_path, text, thousands="."), "v") == [2345]
    assert column(read(tmp_path, "u;v\n1'234,5;1\n0,5;2\n", thousands="'"), "u") == [1234.5, 0.5]
    assert read(tmp_path, "u;v\n1,5;1\n2;2\n", decimal=".").unread[0].count == 1, "no group of three"


def test_commas_between_cells_leave_points_for_decimals(tmp_path: Path) -> None:
    assert column(read(tmp_path, "u,v\n1.234,1\n2.345,2\n"), "u") == [1.234, 2.345], "as ever"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=9))
def test_a_decimal_comma_gives_what_a_point_does_or_is_refused(tmp_path: Path, values: list[float]) -> None:
    cells = [str(np.float32(value)).replace(".", ",") for value in values]
    samples = read(tmp_path, "u;v\n" + "".join(f"{cell};1\n" for cell in cells))
    if 0 not in samples.faults:
        np.testing.assert_array_equal(samples.X[:, 0], np.array(values, dtype=np.float32))
    else:
        assert "[data] decimal" in samples.faults[0].text


def test_digits_in_groups() -> None:
    assert Style(".", ",").numbers(["1,234,567.5", "12"]).tolist() == [1234567.5, 12]
    for cell in ("12,34", "1,2345", "1234,567", ",123", "1_000"):
        with pytest.raises(ValueError):  # noqa: PT011 (whatever `float` says)
            Style(".", ",").number(cell)
    with pytest.raises(ValueError):  # noqa: PT011
        Style(",", "").number("1.5")


# Separators


def test_separators_that_fit(tmp_path: Path) -> None:
    for sign in (";", "\t", "|", ","):
        samples = read(tmp_path, f"u{sign}v{sign}label\n0.5{sign}2{sign}walk\n1.5{sign}3{sign}run\n")
        assert column(samples, "u") == [0.5, 1.5]
        assert samples.y is not None
        assert samples.y.tolist() == ["walk", "run"]
    assert column(read(tmp_path, " u   v\n 0.5 \t 2\n\n1.5 3 \n"), "v") == [2, 3]
    assert column(read(tmp_path, "u#v\n1#2\n", separator="#"), "v") == [2]
    assert column(read(tmp_path, "one name alone\n1\n2\n"), "one name alone") == [1, 2]


def test_decimal_commas_without_a_header_are_no_separators(tmp_path: Path) -> None:
    samples = read(tmp_path, "1,5;2,5;walk\n0,5;3,5;run\n", columns=("u", "v", "label"))
    assert column(samples, "u") == [1.5, 0.5]
    with pytest.raises(DataError, match=r"comma .*semicolon.* \[data\] separ"):
        read(tmp_path, "5,a;7\n6,b;8\n", columns=("u", "v"))
    assert column(read(tmp_path, "1,2;3,4\n5,6;7,8\n", columns=("u", "v")), "u") == [1.2, 5.6]


def test_nobody_is_told_to_delete_the_header(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=telling("line 2: ", "3 cells", "1 columns")) as caught:
        read(tmp_path, "export of 2026-05-01\nu,v,label\n" + "walk,run,walk\n" * 9)
    assert "delete the" not in str(caught.value)
    assert_tells(str(caught.value), "[data] skip")
    with pytest.raises(DataError, match=telling("line 2 ", "[data] skip = 1")):
        read(tmp_path, "export of 2026-05-01\nu,v,label\n" + "1,2,walk\n" * 9)


def test_spaces_without_a_header(tmp_path: Path) -> None:
    assert column(read(tmp_path, "0.5 2\n1.5 3\n", columns=("u", "v")), "v") == [2, 3]


def test_decimal_commas_between_commas_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line 2: .*4 cells.* 2 columns.* comma"):
        read(tmp_path, "u,v\n0,5,1,5\n1,5,2,5\n")
