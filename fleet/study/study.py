"""Run a study: check it, run what is not done yet, and make its files."""

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from fedge.errors import FedgeError, StateError
from fleet.study.book import Book
from fleet.study.deal import Table
from fleet.study.report import render
from fleet.study.runs import Cell, Run, cells, check
from fleet.study.settings import StudySettings
from fleet.study.table import Result, result, too_short
from fleet.study.workers import Failed, Round, run_all

REPORT, RESULT = "report.html", "result.json"


@dataclass(frozen=True)
class Study:
    """A study that is checked, and whose rows are read once for that."""

    settings: StudySettings
    figure: str
    """`accuracy`, or for a regression `rmse`."""
    devices: int
    training: int
    """The rows that the devices train on."""
    test: int
    """The test rows."""
    held: int
    """The rows that the devices hold out."""
    data: str
    """The digest of all rows."""

    @classmethod
    def checked(cls, settings: StudySettings, table: Table | None = None) -> "Study":
        """Refuse what cannot work, before anything runs.

        Raises:
            ConfigError: data, split or an algorithm is refused.
            DataError: a file cannot be read.
        """
        table = table or Table(settings.data)
        deals = [table.deal(seed) for seed in settings.study.seeds]
        first = deals[0]
        check(settings, table.rows, len(first.devices))
        figure = "accuracy" if table.rows.classes else "rmse"
        return cls(
            settings,
            figure,
            len(first.devices),
            first.training,
            len(first.test[0]),
            first.held,
            table.digest(),
        )

    def result(self, runs: Sequence[Run]) -> Result:
        """The table of these runs."""
        names = [one.name for one in self.settings.algorithm]
        return result(runs, names, self.figure, self.settings.study.target)


Show = Callable[[Round | Run | Failed], None]


def run(
    study: Study,
    book: Book,
    jobs: int,
    display: Callable[[int], AbstractContextManager[Show]],
) -> Result:
    """Run the cells that the book lacks, then write `report.html` and `result.json` beside it.

    A run that cannot be done does not keep the others from being done. When one could not, or the study is
    interrupted, both files tell of the runs that are done, and the error or the interruption goes on.

    Args:
        study: what to run.
        book: which keeps the finished runs.
        jobs: processes at once.
        display: gives a context with what shows progress; its argument is the number of runs to do.

    Raises:
        FedgeError: a run could not be done, or a file cannot be written.
    """
    done = {one.cell for one in book.runs}
    asked = [cell for cell in cells(study.settings) if cell not in done]
    try:
        with display(len(asked)) as show:
            _run(study, book, asked, jobs, show)
    except StateError:
        raise
    except (KeyboardInterrupt, FedgeError):
        book.reread()
        if book.runs:
            write(study, book)
        raise
    return write(study, book)


def _run(study: Study, book: Book, asked: list[Cell], jobs: int, show: Show) -> None:
    for told in run_all(study.settings, asked, jobs):
        if isinstance(told, Run):
            book.add(told)
        show(told)


def write(study: Study, book: Book) -> Result:
    """Write `report.html` and `result.json`.

    Raises:
        StateError: one cannot be written.
    """
    found = study.result(book.runs)
    texts = {
        REPORT: render(study, found, book.runs),
        RESULT: json.dumps(as_json(study, found, book), indent=2) + "\n",
    }
    for name, text in texts.items():
        path = book.path.with_name(name)
        try:
            unfinished = path.with_suffix(".unfinished")
            unfinished.write_text(text, encoding="utf-8")
            unfinished.replace(path)
        except OSError as error:
            raise StateError(f"{path}: cannot be written: {error.strerror}") from None
    return found


def as_json(study: Study, found: Result, book: Book) -> dict[str, object]:
    """The study as one JSON object."""
    folder = book.path.parent
    return {
        "study": study.settings.study.name,
        "devices": study.devices,
        "training_rows": study.training,
        "held_out_rows": study.held,
        "test_rows": study.test,
        "rounds": study.settings.study.rounds,
        "runs": len(book.runs),
        "runs_in_all": len(cells(study.settings)),
        "too_short": too_short(book.runs, study.settings.study.seconds),
        **found.as_json(),
        "report": str(folder / REPORT),
    }


def folder_of(settings: StudySettings, out: Path | None) -> Path:
    """The folder of a study's files."""
    return out if out is not None else Path("out/study") / settings.study.name
