"""The types and bounds of a recipe's keys, in words."""

import types
import typing
from typing import Any, Literal

from pydantic import BaseModel


def model_inside(annotation: Any) -> type[BaseModel] | None:
    """The settings class inside an annotation such as `tuple[Source, ...]`, if there is one."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for arg in typing.get_args(annotation) if (found := model_inside(arg))), None)


def allowed_values(field: Any) -> str:
    """A field's type and bounds, in words."""
    bounds = [bound_in_words(bound) for bound in field.metadata]
    return " ".join([type_in_words(field.annotation), *[bound for bound in bounds if bound]])


def bound_in_words(bound: Any) -> str:
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
    for name, sign in signs.items():
        if (value := getattr(bound, name, None)) is not None:
            return f"{sign} {value}"
    return ""


def type_in_words(annotation: Any) -> str:
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return ", ".join(repr(value) for value in args)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(type_in_words(arg) for arg in args if arg is not type(None))
    if origin is tuple:
        inner = [arg for arg in args if arg is not Ellipsis]
        return f"a list of {type_in_words(inner[0])}"
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    return names.get(
        annotation,
        f"a table with {', '.join(annotation.model_fields)}" if model_inside(annotation) else str(annotation),
    )


def first_line(section: type[BaseModel]) -> str:
    return (section.__doc__ or "").strip().splitlines()[0]
