"""Recipes in: a wrong key or value is refused with its line, what was probably meant, and what is allowed."""

import difflib
import re
import tomllib
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from plutao.errors import UserError
from plutao.recipe.describe import allowed_values, model_inside
from plutao.recipe.settings import Recipe
from plutao.recipe.training import LENGTHS


def load(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Reads a recipe file; `overrides` are `a.b=c` as given to --set, applied on top.

    Raises:
        UserError: no such file, TOML that does not parse, or a wrong key or value, each with its line and the remedy.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise UserError(f"{path.parent} has no {path.name}: `plutao new {path.parent}` makes a project.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text; save it as UTF-8.") from error
    return parse(text, where=str(path), overrides=overrides)


def parse(text: str, where: str = "recipe", overrides: Sequence[str] = ()) -> Recipe:
    """As `load`, from text; `where` names it in messages."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{where} is not valid TOML: {error}.") from error
    for override in overrides:
        apply_override(data, override)
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        problems = [describe(problem, text, where, overrides) for problem in error.errors()]
        raise UserError("\n".join(problems)) from error


def shipped() -> dict[str, str]:
    """The recipes inside the package: name → TOML text."""
    folder = resources.files("plutao.recipes")
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".toml")), key=lambda f: f.name)
    return {file.name.removesuffix(".toml"): file.read_text(encoding="utf-8") for file in files}


# ---------------------------------------------------------------------------------------------------------------------
# --set a.b=c


def apply_override(data: dict[str, Any], override: str) -> None:
    """Sets one dotted key; numbers in it pick an element of a list (`data.sources.0.weight=2`)."""
    key, equals, value = override.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise UserError(f"--set {override} is not of the form key=value, as in --set base.batch=32.")
    place: Any = data
    for part in parts[:-1]:
        if isinstance(place, list):
            if not part.isdigit() or int(part) >= len(place):
                raise UserError(f"--set {override}: {part!r} is not one of the {len(place)} elements (count from 0).")
            place = place[int(part)]
        else:
            place = place.setdefault(part, {})
        if not isinstance(place, dict | list):
            raise UserError(f"--set {override}: {part!r} has no keys below it.")
    if isinstance(place, list):
        raise UserError(f"--set {override}: name the element's key, as in data.sources.0.weight=2.")
    if parts[-1] in LENGTHS:  # another length takes the place of the recipe's
        for other in LENGTHS:
            place.pop(other, None)
    place[parts[-1]] = toml_value(value.strip())


def toml_value(text: str) -> Any:
    """`12`, `0.5`, `true`, `[1, 2]` as TOML reads them; anything else is the text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


# ---------------------------------------------------------------------------------------------------------------------
# What is wrong, where, and what was meant


def describe(problem: Any, text: str, where: str, overrides: Sequence[str]) -> str:
    """One pydantic problem as one sentence: place, what is wrong, what was meant, what is allowed."""
    location = tuple(problem["loc"])
    dotted = ".".join(str(part) for part in location)
    section, field = section_at(location)
    place = find_place(location, text, where, overrides)
    if problem["type"] == "extra_forbidden" and section is not None:
        known = list(section.model_fields)
        close = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
        elsewhere = [".".join(path) for path, _, name in keys_of(Recipe) if name == location[-1]]
        meant = f" Did you mean {close[0]!r}?" if close else f" Did you mean {elsewhere[0]!r}?" if elsewhere else ""
        return f"{place}: unknown key {dotted!r}.{meant} Allowed here: {', '.join(known)}."
    if problem["type"] == "missing":
        return f"{place}: {dotted!r} is missing."
    if problem["type"] == "value_error":
        message = str(problem["ctx"]["error"])
        return f"{place}: {message}."
    allowed = f" Allowed: {allowed_values(field)}." if field is not None else ""
    return f"{place}: {dotted} = {problem['input']!r} is not right: {lower_first(problem['msg'])}.{allowed}"


def lower_first(message: str) -> str:
    return message[:1].lower() + message[1:]


def section_at(location: Sequence[Any]) -> tuple[type[BaseModel] | None, Any]:
    """The model class that holds the last key of `location`, and that key's field where it is known."""
    section: type[BaseModel] | None = Recipe
    field = None
    for part in location:
        if isinstance(part, int):
            continue
        if section is None or part not in section.model_fields:
            return section, None
        field = section.model_fields[part]
        inner = model_inside(field.annotation)
        if part != location[-1] or inner is not None:
            section = inner if inner is not None else section
    return section, field


def find_place(location: Sequence[Any], text: str, where: str, overrides: Sequence[str]) -> str:
    """`file, line 12`, or the --set that brought the value."""
    dotted = ".".join(str(part) for part in location)
    for override in overrides:
        key = override.partition("=")[0].strip()
        if dotted == key or dotted.startswith(f"{key}.") or key.startswith(f"{dotted}."):
            return f"--set {override}"
    line = find_line(location, text)
    return f"{where}, line {line}" if line else where


def find_line(location: Sequence[Any], text: str) -> int | None:
    """The line of a key: tables are followed by their headers, [[tables]] are counted; the nearest enclosing line if the key has none."""
    best: tuple[int, int] | None = None
    for line, path in toml_lines(text):
        shared = len(path) if tuple(location[: len(path)]) == path else 0
        if shared and (best is None or shared > best[0]):
            best = (shared, line)
    return best[1] if best else None


def toml_lines(text: str) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """(line, path of keys) of every header and every key of a TOML text."""
    table: tuple[Any, ...] = ()
    counts: dict[tuple[Any, ...], int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*(\[\[?)\s*([^\]]+?)\s*\]", line):
            table = tuple(part.strip().strip("\"'") for part in header[2].split("."))
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                table = (*table, counts[table])
            yield number, table
        elif key := re.match(r"\s*([A-Za-z0-9_\"'.-]+)\s*=", line):
            yield number, (*table, *(part.strip("\"'") for part in key[1].split(".")))


def keys_of(section: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any, str]]:
    """(dotted path, field, name) of every key in a settings class and below."""
    for name, field in section.model_fields.items():
        yield (*path, name), field, name
        if inner := model_inside(field.annotation):
            yield from keys_of(inner, (*path, name))
