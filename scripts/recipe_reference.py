"""Write docs/recipe.md, the reference of every key of a recipe, from the recipe's own types and descriptions.

`python scripts/recipe_reference.py`; a test fails where the page is not what this writes.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from plutao.data.settings import ExampleSource
from plutao.files import write_text
from plutao.recipe import Recipe, TrainSettings, allowed_values, first_line, model_inside

PAGE = Path(__file__).resolve().parent.parent / "docs" / "recipe.md"

BEFORE = """\
# Recipes

[Português](recipe.pt-BR.md)

A recipe, `plutao.toml`, is everything a run is made of. `plutao new` writes one with every key in it: those that are commented out
show their defaults. A wrong key or value is refused with its line, what was probably meant, and what is allowed:

```console
$ plutao run small
plutao: small/plutao.toml, line 53: unknown key 'tokenizer.vocabulery'. Did you mean 'vocabulary'? \
Allowed here: kind, vocabulary, sample_megabytes, path.
```

`--set` overrides one key for a single run; a length given this way takes the place of the recipe's:

```sh
plutao run small --set base.steps=500 --set model.dropout=0.1
plutao run small --set data.sources.0.megabytes=2
```

The recipe as resolved, every key set, is saved beside each result as `recipe.toml`: copied to a new project's `plutao.toml`, it makes the
same run again. A recipe has the stages `sft`, `reward`, `rl` and `dpo` where it has their sections.

Recipes that ship: `own-text` (the default of `plutao new`), `sistema-solar` (the demo), `livros-pt` and `shakespeare`.

This page is written by `scripts/recipe_reference.py` from the recipe's own types.
"""


def reference() -> str:
    """The whole page."""
    return "\n".join([BEFORE, *section(Recipe, ())]).rstrip() + "\n"


def section(settings: type[BaseModel], path: tuple[str, ...], repeated: bool = False) -> Iterator[str]:
    """A table of one section's keys, then its subsections. What all stages say alike stands with the first of them."""
    name = ".".join(path)
    title = f"`[[{name}]]`" if repeated else f"`[{name}]`" if path else "Top of the file"
    yield from (f"## {title}", "", first_line(settings), "")
    shared = set(TrainSettings.model_fields) if issubclass(settings, TrainSettings) and path != ("base",) else set()
    if shared:
        yield from (
            f"Besides these: {', '.join(f'`{key}`' for key in TrainSettings.model_fields)}, as in `[base]`.",
            "",
        )
        if others := changed_defaults(settings, name):
            yield from (others, "")
    yield from ("| key | allowed | default | meaning |", "| --- | --- | --- | --- |")
    inner = []
    for key, field in settings.model_fields.items():
        if key in shared:
            continue
        below = model_inside(field.annotation)
        if below is not None:
            inner.append((below, (*path, key), get_origin(field.annotation) is tuple))
            continue
        meaning = " ".join((field.description or "").split())
        cells = [f"`{'.'.join((*path, key))}`", allowed_values(field), default_in_words(field.get_default()), meaning]
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    yield ""
    for below, place, several in inner:
        if below is ExampleSource and path != ("sft",):
            yield from (f"## `[[{'.'.join(place)}]]`", "", "As `[[sft.sources]]`.", "")
        else:
            yield from section(below, place, several)


def changed_defaults(settings: type[BaseModel], name: str) -> str:
    """The defaults of shared keys where a stage has others than the base stage; empty where it has none."""
    usual, changed = TrainSettings.model_fields, []
    for key, field in usual.items():
        default, own = field.get_default(), settings.model_fields[key].get_default()
        if isinstance(default, BaseModel):
            pairs = zip(default.model_dump().items(), own.model_dump().values(), strict=True)
            changed += [f"`{name}.{key}.{part} = {mine!r}`" for (part, theirs), mine in pairs if mine != theirs]
        elif own != default:
            changed.append(f"`{name}.{key} = {list(own) if isinstance(own, tuple) else own!r}`")
    return f"Other defaults: {', '.join(changed)}.".replace("'", '"') if changed else ""


def default_in_words(value: object) -> str:
    """A default as TOML writes it."""
    if value is PydanticUndefined:
        return "needed"
    if value is None:
        return "left out"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, str):
        return f'`"{value}"`'
    if isinstance(value, tuple):
        return "`[" + ", ".join(default_in_words(each).strip("`") for each in value) + "]`"
    return f"`{value}`"


if __name__ == "__main__":
    write_text(PAGE, reference())
    print(f"Written: {PAGE}")
