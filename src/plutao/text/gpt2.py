"""GPT-2's own vocabulary, read from the files OpenAI published (Radford et al. 2019).

Two files, under the names of either publisher: `encoder.json` and `vocab.bpe` (OpenAI), `vocab.json` and `merges.txt`
(Hugging Face). The first numbers the tokens, the second lists the merges in order.
"""

from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from plutao.errors import UserError
from plutao.files import read_json
from plutao.text.special import END_OF_TEXT, add_special_tokens

FILE_NAMES = (("encoder.json", "vocab.bpe"), ("vocab.json", "merges.txt"), ("gpt2_encoder.json", "gpt2_vocab.bpe"))
END_OF_TEXT_ID = 50256
"""The last of GPT-2's 50,257 tokens: 256 bytes, 50,000 merges and this one."""


def find_files(folder: Path) -> tuple[Path, Path] | None:
    """The two files in `folder`, under any of their names; None where they are not."""
    for table, merges in FILE_NAMES:
        if (folder / table).is_file() and (folder / merges).is_file():
            return folder / table, folder / merges
    return None


def load_backend(table_file: Path, merges_file: Path) -> Tokenizer:
    """GPT-2's tokenizer; special tokens it never had are appended after its own, from id 50257 on.

    Raises:
        UserError: a file is damaged, or belongs to another model (whose rules for cutting text we can't know from it).
    """
    table = read_json(table_file)
    if not isinstance(table, dict) or table.get(END_OF_TEXT) != END_OF_TEXT_ID:
        raise UserError(
            f"{table_file} is not GPT-2's vocabulary (its {END_OF_TEXT} must be token {END_OF_TEXT_ID}). "
            "For another model, use a folder that has its tokenizer.json."
        )
    try:
        backend = Tokenizer(models.BPE(table, _read_merges(merges_file)))
    except UserError:
        raise
    except Exception as error:  # what `tokenizers` raises has no narrower type
        raise UserError(
            f"{table_file} and {merges_file.name} do not fit together ({error}): download both again."
        ) from error
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    add_special_tokens(backend)
    return backend


def _read_merges(file: Path) -> list[tuple[str, str]]:
    """The merges in order; the first line is a version, and tokens may hold any character but blank and line end."""
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} can't be read ({error}): download it again.") from error
    merges = []
    for number, line in enumerate(lines, start=1):
        line = line.removesuffix("\r")
        if not line or line.startswith("#version"):
            continue
        left, blank, right = line.partition(" ")
        if not (left and blank and right) or " " in right:
            raise UserError(f"{file}, line {number}: expected two tokens and a blank between them: download it again.")
        merges.append((left, right))
    return merges
