"""The examples that stages learn from (conversations; rankings likewise): where they are, and what they are by content."""

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plutao.data import catalogue
from plutao.data.conversations import Conversation, read_conversations
from plutao.data.documents import world_version
from plutao.data.settings import ExampleSource
from plutao.data.sources.find import find_files
from plutao.data.sources.rows import BadRows
from plutao.errors import UserError
from plutao.files import sha256
from plutao.worlds import world

OWN = "own"
"""Names the source of what people of the project wrote themselves."""
WORLD_COUNT = 10_000
"""Examples that a world writes where the recipe does not say how many."""


@dataclass(frozen=True)
class Place:
    """Where the examples of a source lie (None: a world writes them), with the language and licence of all of them."""

    name: str
    origin: str
    """In words, for the card."""
    path: Path | None
    source: ExampleSource | None = None
    """None for what people of the project wrote themselves."""
    language: str | None = None
    license: str | None = None


def places(sources: Sequence[ExampleSource], root: Path, own: str) -> list[Place]:
    """The places of a stage's sources, corpora fetched if they have to be, and of the project's own examples.

    Args:
        own: the folder below data/ for people's own: "conversations" or "rankings".

    Raises:
        UserError: a corpus or file that is not there.
    """
    found = [place_of(source, root) for source in sources]
    folder = root / "data" / own
    if folder.is_dir() and any(folder.glob("*.jsonl")):
        found.append(Place(OWN, f"data/{own}", below(folder, "*.jsonl")))
    return found


def place_of(source: ExampleSource, root: Path) -> Place:
    if source.world is not None:
        licence = source.license or world(source.world).license
        return Place(source.name, f"world {source.world}", None, source, source.language, licence)
    if source.corpus is not None:
        corpus, path = catalogue.find(source.corpus, root), catalogue.get(source.corpus, root)
        language, licence = source.language or corpus.language or None, source.license or corpus.license
        return Place(source.name, f"corpus {source.corpus}", path, source, language, licence)
    assert source.path is not None
    path = below(root, source.path)
    find_files(str(path), Path())
    return Place(source.name, f"path {source.path}", path, source, source.language, source.license)


def below(folder: Path, path: str) -> Path:
    """What `path`, a file, a folder or a pattern, means below a folder, whose own name is no pattern whatever is in it."""
    plain = folder / Path(path).expanduser()
    return plain if plain.exists() else Path(glob.escape(str(folder))) / Path(path).expanduser()


def identity(some: Sequence[Place]) -> list[Any]:
    """Names the examples by content: what stages put into their inputs."""
    named: list[Any] = []
    for place in some:
        settings = None if place.source is None else place.source.model_dump(mode="json", exclude={"path", "weight"})
        if place.path is None:
            assert place.source is not None and place.source.world is not None
            named.append([settings, world_version(place.source.world)])
        else:
            files = find_files(str(place.path), Path())
            named.append([settings, [[file.name, sha256(file.path)] for file in files]])
    return named


def check_sources(stage: str, sources: Sequence[ExampleSource], root: Path | None, own: str) -> None:
    """Refuses what can't be learned from before anything long begins; with `root`, corpora are fetched and files looked for.

    Raises:
        UserError: no source at all, two of one name, weights for some only, or what is not there.
    """
    names = [source.name for source in sources]
    if twice := next((name for name in names if names.count(name) > 1 or name == OWN), None):
        why = "is the name of what people of this project wrote" if twice == OWN else "is the name of two sources"
        raise UserError(f"[[{stage}.sources]]: {twice!r} {why}; give it another name.")
    weighted = [source.weight is not None for source in sources]
    if any(weighted) and not all(weighted):
        without = names[weighted.index(False)]
        raise UserError(f"[[{stage}.sources]]: {without!r} has no weight and others do; give all a weight, or none.")
    if root is not None and not places(sources, root, own):
        raise UserError(
            f"Stage {stage} has nothing to learn from: name some in [[{stage}.sources]], or put JSONL files into "
            f"{root / 'data' / own}."
        )


def conversations_of(place: Place, seed: int, bad: BadRows) -> list[Conversation]:
    """The conversations at a place, those of a world written with this seed.

    Raises:
        UserError: rows that do not fit, where bad rows are refused; or there is no conversation.
    """
    source = place.source
    count = source.count if source is not None else None
    if place.path is None:
        assert source is not None and source.world is not None
        return [
            Conversation(dialogue.messages, dialogue.id, place.name, dialogue.language, place.license)
            for dialogue in world(source.world).dialogues(count or WORLD_COUNT, seed)
        ]
    found = []
    for conversation in read_conversations(
        place.path,
        place.name,
        language=place.language,
        license=place.license,
        prompt=source.prompt if source is not None else None,
        answer=source.answer if source is not None else None,
        bad=bad,
    ):
        found.append(conversation)
        if count is not None and len(found) == count:
            break
    if not found:
        skipped = ", ".join(f"{number} × {reason}" for reason, number in bad.counts.items())
        raise UserError(f"{place.path} has no conversation{f' ({skipped})' if skipped else ''}: add some.")
    return found
