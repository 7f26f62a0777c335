"""A tokenizer that needs no training (one token per byte), and shards of a few texts."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from plutao.data.shards import ShardIndex, build_shards
from plutao.data.store import DocumentWriter, Part
from plutao.files import write_json


class ByteTokenizer:
    """Token = byte; 256 is <|endoftext|>."""

    vocabulary_size = 257
    end_of_text = 256
    fingerprint = "bytes"

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [list(text.encode()) for text in texts]


class WideTokenizer(ByteTokenizer):
    """The same ids in a vocabulary too large for 16 bits."""

    vocabulary_size = 70_000
    end_of_text = 69_999
    fingerprint = "wide"


MakeShards = Callable[..., ShardIndex]


def write_documents(folder: Path, sources: dict[str, list[str]]) -> Path:
    """A folder as `build_documents` leaves it, with the same texts for training and validation."""
    for source, texts in sources.items():
        (folder / source).mkdir(parents=True)
        for split in ("train", "validation"):
            with DocumentWriter(folder / source / f"{split}.parquet", source) as writer:
                for number, text in enumerate(texts):
                    writer.write(Part(id=str(number), text=text), len(text.encode()))
    sizes = {source: {"bytes": 2 * sum(len(text.encode()) for text in texts)} for source, texts in sources.items()}
    write_json(folder / "card.json", {"fingerprint": "documents", "sources": sizes})
    return folder


@pytest.fixture
def make_shards(tmp_path: Path) -> MakeShards:
    def make(tokenizer: ByteTokenizer | None = None, **sources: list[str]) -> ShardIndex:
        documents = write_documents(tmp_path / "documents", sources)
        return build_shards(documents, tokenizer or ByteTokenizer(), tmp_path / "shards")

    return make
