"""Detects files that are not text by their first bytes, and says for each format what to do.

Sources: the formats' own specifications (Apache Parquet, Arrow IPC, HDF5, MATLAB MAT-files level 5, RFC 1952
for gzip, PKWARE's APPNOTE for zip, SQLite's "Database File Format").
"""

from pathlib import Path

from fedge.data.disclosure import Public, public
from fedge.errors import DataError

_EXPORT = "pandas.{reader}(…).to_csv(…, index=False)"
PANDAS = "write it as CSV: in Python, " + _EXPORT

_SIGNATURES: tuple[tuple[bytes, Public, str], ...] = (
    (b"PAR1", public("a Parquet file"), PANDAS.format(reader="read_parquet")),
    (b"ARROW1", public("an Arrow or Feather file"), PANDAS.format(reader="read_feather")),
    (b"FEA1", public("a Feather file"), PANDAS.format(reader="read_feather")),
    (b"\xff\xff\xff\xff", public("a stream of Arrow"), "write it as CSV: pyarrow.csv.write_csv"),
    (
        b"MATLAB 7.3 MAT-file",
        public("a MATLAB file (v7.3, HDF5)"),
        "write it as CSV: in MATLAB, writetable(T, 'data.csv')",
    ),
    (
        b"MATLAB 5.0 MAT-file",
        public("a MATLAB file (v5)"),
        "write it as CSV: in MATLAB, writetable(T, 'data.csv'); or load it with scipy.io.loadmat in a "
        'function of yours, [data] source = "python"',
    ),
    (
        b"\x89HDF\r\n\x1a\n",
        public("an HDF5 file"),
        'read it with h5py in a function of yours, [data] source = "python"',
    ),
    (b"\x1f\x8b", public("compressed with gzip"), "unpack it with gunzip"),
    (b"BZh", public("compressed with bzip2"), "unpack it with bunzip2"),
    (b"\xfd7zXZ\x00", public("compressed with xz"), "unpack it with unxz"),
    (b"\x28\xb5\x2f\xfd", public("compressed with zstd"), "unpack it with unzstd"),
    (b"SQLite format 3\x00", public("an SQLite database"), "write a table as CSV: sqlite3 -header -csv"),
    (b"\xd0\xcf\x11\xe0", public("an Excel file (xls)"), "save it as CSV in UTF-8"),
    (b"\x93NUMPY", public("a NumPy array"), 'save X and y with numpy.savez, [data] source = "npz"'),
    (b"TDSm", public("a TDMS file"), "write it as CSV: in Python, nptdms.TdmsFile.read(…).as_dataframe()"),
    (b"%PDF", public("a PDF document"), "ask for the data themselves, as CSV"),
)
_ZIP = b"PK\x03\x04"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def refuse_foreign(file: Path, head: bytes, tail: bytes) -> None:
    """Refuse a file that is not text.

    Args:
        file: the file, for messages.
        head: its first 4,096 bytes.
        tail: its last 65,536 bytes, where a zip archive lists its members.

    Raises:
        DataError: the bytes are those of another format; the text names the format, and says what to do.
    """
    for beginning, kind, advice in _SIGNATURES:
        if head.startswith(beginning):
            raise _foreign(file, kind, advice)
    if head.startswith(_ZIP):
        if b"xl/" in head + tail:
            raise _foreign(file, public("an Excel file (xlsx)"), "save it as CSV in UTF-8")
        if b".npy" in head + tail:
            raise _foreign(file, public("a NumPy archive"), 'set [data] source = "npz"')
        raise _foreign(file, public("a zip archive"), "unpack it with unzip")
    if head.startswith(_UTF_16):
        told = public("line 1: not UTF-8 but UTF-16")
        raise DataError(f"{file}: {told}; save the file as CSV in UTF-8", told)


def _foreign(file: Path, kind: Public, advice: str) -> DataError:
    told = public("this is no CSV but {kind}", kind=kind)
    return DataError(f"{file}: {told}; {advice}", told)
