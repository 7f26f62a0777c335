"""Recipes out: commented TOML, as a person edits it or as it was resolved."""

from collections.abc import Iterator
from pathlib import Path

import tomlkit
from pydantic import BaseModel

from plutao.files import write_text
from plutao.recipe.describe import allowed_values, first_line, model_inside
from plutao.recipe.settings import STAGES, Recipe


def save(recipe: Recipe, path: Path, every_key: bool = True) -> None:
    """Writes the recipe with its explanations: as resolved, every key set, or with the defaults as comments."""
    write_text(path, render(recipe, every_key))


def render(recipe: Recipe, every_key: bool = False) -> str:
    """The recipe as commented TOML: set keys as they are, the others as comments with their defaults (or all set, with `every_key`)."""
    lines = [f"# {recipe.description}" if recipe.description else "# A recipe of Plutão."]
    lines += [
        "# Every key is here: those commented out show their defaults. `--set a.b=c` overrides one for a single run.",
        "",
    ]
    lines += section_lines(recipe, (), every_key)
    return "\n".join(lines).rstrip() + "\n"


def section_lines(section: BaseModel, path: tuple[str, ...], every_key: bool) -> Iterator[str]:
    absent = set(STAGES) - set(section.stages) if isinstance(section, Recipe) else set()
    subsections = []
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if model_inside(field.annotation) is not None:
            subsections.append((name, value))
            continue
        yield f"# {' '.join((field.description or '').split())} ({allowed_values(field)})"
        is_set = name in section.model_fields_set or every_key
        if value is None:
            yield f"# {name} ="
        else:
            yield f"{'' if is_set else '# '}{name} = {tomlkit.item(value).as_string()}"
    for name, value in subsections:
        header = ".".join((*path, name))
        if value is None or header in absent - {"tokenizer"}:
            if not every_key:
                inner = model_inside(type(section).model_fields[name].annotation)
                assert inner is not None
                yield from ("", f"# [{header}]  (no such stage here)", f"# {first_line(inner)}")
            continue
        if isinstance(value, tuple):
            for element in value:
                yield from ("", f"[[{header}]]")
                yield from section_lines(element, (*path, name), every_key)
        else:
            yield from ("", f"[{header}]", f"# {first_line(type(value))}")
            yield from section_lines(value, (*path, name), every_key)
