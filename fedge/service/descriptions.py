"""Reads the descriptions of a table's keys, which are the docstrings below them, when they are needed."""

from functools import cache
from inspect import get_annotations
from typing import TYPE_CHECKING

from pydantic import BaseModel

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo


@cache
def described(model: type[BaseModel]) -> "dict[str, FieldInfo]":
    """Return the fields of a table, each with its description, if there is one.

    Pydantic can do this for each class when the class is made (`use_attribute_docstrings`). That would read
    and parse the source of all settings at each start, although descriptions are rarely shown.
    """
    found: dict[str, str | None] = {}
    for kind in reversed(model.__mro__):
        if issubclass(kind, BaseModel) and kind is not BaseModel:
            said = _docstrings(kind)
            found |= {name: said.get(name) for name in get_annotations(kind)}
    for name, field in model.model_fields.items():
        field.description = field.description or found.get(name)
    return model.model_fields


def _docstrings(kind: type) -> dict[str, str]:
    """Return the docstrings by attribute; none if the source is not available."""
    import ast
    import inspect
    from textwrap import dedent

    try:
        (tree,) = ast.parse(dedent(inspect.getsource(kind))).body
    except (OSError, TypeError, SyntaxError):
        return {}
    if not isinstance(tree, ast.ClassDef):
        return {}
    return {
        here.target.id: inspect.cleandoc(below.value.value)
        for here, below in zip(tree.body, tree.body[1:], strict=False)
        if isinstance(here, ast.AnnAssign)
        and isinstance(here.target, ast.Name)
        and isinstance(below, ast.Expr)
        and isinstance(below.value, ast.Constant)
        and isinstance(below.value.value, str)
    }
