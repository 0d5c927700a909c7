"""ByzFL's rules and attacks on given matrices: `python byzfl_answers.py MATRICES QUESTIONS ANSWERS`.

MATRICES is an NPZ file of arrays, each of shape (n, p) or, for a rule with a state, (rounds, n, p). QUESTIONS
is a JSON list of [matrix, class, options, pre-aggregation or null, its options]. ANSWERS becomes an NPZ file
with the answer to each question by its number, of shape (p,) or (rounds, p).
"""

import json
import sys
from pathlib import Path

import byzfl
import numpy as np


def answer(matrix, name, options, before, more):
    """What ByzFL makes of one matrix, or of one after another with the same object."""
    made = getattr(byzfl, name)(**options)
    mixed = getattr(byzfl, before)(**more) if before else np.array
    rounds = matrix if matrix.ndim == 3 else matrix[None]
    found = np.stack([made(mixed(np.array(rows))) for rows in rounds])
    return found if matrix.ndim == 3 else found[0]


def main(matrices, questions, answers):
    """Answer all questions."""
    given = np.load(matrices)
    asked = json.loads(Path(questions).read_text(encoding="utf-8"))
    found = {str(number): answer(given[one[0]], *one[1:]) for number, one in enumerate(asked)}
    np.savez(answers, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
