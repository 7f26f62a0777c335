"""Fertility: how many bytes of text one token carries, a tokenizer's economy in a language.

The more bytes a token carries, the more text fits the context and the fewer steps generation takes. A vocabulary learned
on English cuts Portuguese finer; standing beside GPT-2's, learned on English web pages, a vocabulary of one's own shows
what it gains.
"""

from collections.abc import Iterable, Iterator

from plutao.text.tokenizer import Tokenizer

CHARACTERS_AT_ONCE = 1_000_000


def fertility(tokenizer: Tokenizer, texts: Iterable[str]) -> float:
    """UTF-8 bytes per token over all the texts; zero where there are none. Memory as in `fertility_by_language`."""
    samples = (("all", text) for text in texts)
    return fertility_by_language({"it": tokenizer}, samples).get("all", {}).get("it", 0.0)


def fertility_by_language(
    tokenizers: dict[str, Tokenizer], samples: Iterable[tuple[str, str]]
) -> dict[str, dict[str, float]]:
    """UTF-8 bytes per token in each language for each tokenizer, as a report prints them side by side.

    Args:
        tokenizers: by the name of their column, such as {"ours": …, "gpt2": …}.
        samples: (language, text) pairs, read once and a million characters at a time.

    Returns:
        {language: {name: bytes per token}}, languages in alphabetical order; one without a single token is left out.
    """
    bytes_of: dict[str, int] = {}
    tokens_of: dict[tuple[str, str], int] = {}
    for chunk in _chunks(samples):
        for language, text in chunk:
            bytes_of[language] = bytes_of.get(language, 0) + len(text.encode())
        for name, tokenizer in tokenizers.items():
            batch = tokenizer.encode_batch([text for _, text in chunk])
            for (language, _), ids in zip(chunk, batch, strict=True):
                tokens_of[language, name] = tokens_of.get((language, name), 0) + len(ids)
    return {
        language: {name: size / tokens_of[language, name] for name in tokenizers if tokens_of[language, name]}
        for language, size in sorted(bytes_of.items())
        if size
    }


def _chunks(samples: Iterable[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    chunk: list[tuple[str, str]] = []
    characters = 0
    for language, text in samples:
        chunk.append((language, text))
        characters += len(text)
        if characters >= CHARACTERS_AT_ONCE:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk
