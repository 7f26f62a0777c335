"""The README's promises: its commands exist, both languages say the same, links lead somewhere, no page is out of date."""

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from plutao.cli import build
from plutao.recipe import STAGES, parse

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "README.pt-BR.md", *sorted((ROOT / "docs").glob("*.md"))]
ENGLISH = [page for page in PAGES if not page.name.endswith(".pt-BR.md")]


def twin(page: Path) -> Path:
    """The Portuguese page of an English one."""
    return page.with_name(page.name.removesuffix(".md") + ".pt-BR.md")


def without_code(text: str) -> str:
    """A page's prose: fenced blocks taken out."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def commands(page: Path) -> Iterator[str]:
    """The command lines of a page's fenced blocks: every line of `sh`, the lines after `$` of `console`."""
    for language, block in re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S):
        for line in block.splitlines():
            if language == "sh" and line.strip() and not line.lstrip().startswith("#"):
                yield line.strip()
            elif language == "console" and line.startswith("$ "):
                yield line[2:].strip()


def inline_commands(page: Path) -> Iterator[str]:
    """`plutao …` in the prose, where it is a whole command and not a verb's name."""
    for code in re.findall(r"`(plutao [^`]+)`", without_code(page.read_text(encoding="utf-8"))):
        if "…" not in code and len(code.split()) > 2:
            yield code


def arguments_of(line: str) -> list[str] | None:
    """What follows `plutao` in a command line, up to a pipe or redirection; None where the line calls something else."""
    words = shlex.split(line, comments=True)
    place = next((i for i, word in enumerate(words) if word == "plutao" or word.endswith("/plutao")), None)
    if place is None or words[:1] == ["pip"]:
        return None
    rest = words[place + 1 :]
    end = next((i for i, word in enumerate(rest) if word in ("|", ">", "2>", "&&", ";")), len(rest))
    return rest[:end]


def understand(arguments: list[str]) -> None:
    """Lets the command line parse `arguments`, down to the verb's own options, without running the verb."""
    command = typer.main.get_command(build(arguments))
    name, context = "plutao", None
    while True:
        context = command.make_context(name, list(arguments), parent=context)
        if not hasattr(command, "resolve_command"):
            return
        name, command, arguments = command.resolve_command(context, [*context._protected_args, *context.args])


COMMANDS = sorted(
    {(page.name, line) for page in PAGES for line in [*commands(page), *inline_commands(page)] if arguments_of(line)}
)


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_a_command_of_the_pages_is_understood(page: str, line: str) -> None:
    arguments = arguments_of(line)
    assert arguments is not None
    try:
        understand(arguments)
    except Exception as error:
        raise AssertionError(f"{page}: {line!r} is not understood: {error}") from error


@pytest.mark.parametrize("line", ["plutao rum demo", "plutao run demo --bach 3", "plutao data shew demo"])
def test_a_wrong_command_would_be_noticed(line: str) -> None:
    with pytest.raises(Exception, match="No such"):
        understand(arguments_of(line) or [])


def test_the_settings_that_pages_override_exist() -> None:
    """`--set a.b=c` in a page is a key of the recipe and a value it takes."""
    for page in PAGES:
        for line in [*commands(page), *inline_commands(page)]:
            words = arguments_of(line) or []
            overrides = [words[i + 1] for i, word in enumerate(words[:-1]) if word == "--set"]
            if overrides:
                source = '[[data.sources]]\nname = "any"\nworld = "solar"\n'
                parse(source, where=f"{page.name}: {line}", overrides=overrides)
            if "--stage" in words:
                assert words[words.index("--stage") + 1] in STAGES, line


def test_the_make_targets_of_the_pages_exist() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set()
    for page in [*PAGES, ROOT / "CONTRIBUTING.md"]:
        text = page.read_text(encoding="utf-8")
        named |= set(re.findall(r"`make (\w+)`", text)) | set(re.findall(r"^(?:\$ )?make (\w+)", text, re.MULTILINE))
    assert {"demo", "test"} <= named <= targets


@pytest.mark.parametrize("page", ENGLISH, ids=lambda page: page.name)
def test_portuguese_and_english_are_equals(page: Path) -> None:
    """Every page has its counterpart, with the same commands, as many headings and tables, and the same figures."""
    other = twin(page)
    assert other.is_file(), f"{page.name} has no {other.name}"
    assert list(commands(page)) == list(commands(other))
    assert levels(page) == levels(other)
    assert figures(page) == figures(other)


def test_no_portuguese_page_is_alone() -> None:
    alone = [page.name for page in PAGES if page.name.endswith(".pt-BR.md") and page not in map(twin, ENGLISH)]
    assert alone == []


def levels(page: Path) -> list[int]:
    """The headings' levels, in order."""
    return [len(marks) for marks in re.findall(r"^(#+) ", without_code(page.read_text(encoding="utf-8")), re.MULTILINE)]


def figures(page: Path) -> list[list[str]]:
    """The numbers of each table row, without decimal and thousands signs, which the languages write differently."""
    rows = re.findall(r"^\|.*\|$", without_code(page.read_text(encoding="utf-8")), re.MULTILINE)
    return [[re.sub(r"[.,]", "", number) for number in re.findall(r"\d(?:[\d.,]*\d)?", row)] for row in rows]


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page: Path) -> None:
    """Files linked and files named in the prose are there; a Portuguese page names pages of its language."""
    text = without_code(page.read_text(encoding="utf-8"))
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    named = re.findall(r"(?<![\w/])docs/[\w.-]+\.md", text)
    missing = [link for link in links if link and not (page.parent / link).exists()]
    missing += [name for name in named if not (ROOT / name).exists()]
    assert missing == []


def test_the_recipe_reference_is_up_to_date() -> None:
    """docs/recipe.md is written by scripts/recipe_reference.py from the recipe itself."""
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        from recipe_reference import reference
    finally:
        sys.path.pop(0)
    assert (ROOT / "docs" / "recipe.md").read_text(encoding="utf-8") == reference(), (
        "run: python scripts/recipe_reference.py"
    )


def test_the_portuguese_recipe_page_names_every_key() -> None:
    text = (ROOT / "docs" / "recipe.pt-BR.md").read_text(encoding="utf-8")
    english = (ROOT / "docs" / "recipe.md").read_text(encoding="utf-8")
    keys = re.findall(r"^\| `([\w.]+)` \|", english, re.MULTILINE)
    assert len(keys) > 50
    assert keys == re.findall(r"^\| `([\w.]+)` \|", text, re.MULTILINE)
