"""The data card: what a build of documents holds, and where it came from."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from plutao.data.store import Part
from plutao.files import read_json

UNKNOWN = "unknown"


@dataclass(frozen=True)
class SplitCard:
    """Training or validation text of one source."""

    documents: int
    bytes: int
    characters: int


@dataclass(frozen=True)
class SourceCard:
    """One source: its inputs and what became of them. `languages` and `licenses` are shares of its bytes."""

    origin: str
    files: int
    encodings: dict[str, int]
    """Encoding → files in it, as named by the recipe or found out."""
    sha256: str
    documents: int
    bytes: int
    characters: int
    languages: dict[str, float]
    licenses: dict[str, float]
    skipped: dict[str, int]
    """Reason → rows or files that were passed over."""
    skipped_examples: list[str]
    train: SplitCard
    validation: SplitCard


@dataclass(frozen=True)
class DataCard:
    """A build of documents in `folder`; `fingerprint` names its content."""

    folder: Path
    fingerprint: str
    seed: int
    split: str
    sources: dict[str, SourceCard]

    @property
    def bytes(self) -> int:
        """UTF-8 bytes of text in all."""
        return sum(source.bytes for source in self.sources.values())

    def as_json(self) -> dict[str, Any]:
        """What card.json holds."""
        content = asdict(self)
        del content["folder"]
        return content


def load_card(folder: Path) -> DataCard:
    """Raises UserError where `folder` holds no complete build."""
    content = read_json(folder / "card.json")
    sources = {}
    for name, source in content.pop("sources").items():
        source |= {split: SplitCard(**source[split]) for split in ("train", "validation")}
        sources[name] = SourceCard(**source)
    return DataCard(folder, **content, sources=sources)


@dataclass
class Tally:
    """Counts the documents of a source as they go by."""

    documents: int = 0
    bytes: int = 0
    characters: int = 0
    languages: Counter[str] = field(default_factory=Counter)
    licenses: Counter[str] = field(default_factory=Counter)

    def add(self, part: Part, size: int) -> None:
        self.documents += part.part == 0
        self.bytes += size
        self.characters += len(part.text)
        self.languages[part.language or UNKNOWN] += size
        self.licenses[part.license or UNKNOWN] += size

    def shares(self, of: Counter[str]) -> dict[str, float]:
        """name → share of the bytes, the largest first."""
        return {name: size / self.bytes for name, size in of.most_common()}
