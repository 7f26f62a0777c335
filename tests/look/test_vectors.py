"""Maps put together what belongs together, and every view says in a table what its picture shows."""

import numpy as np
import pytest

from plutao.errors import UserError
from plutao.evaluate.bias import measure, word_lists
from plutao.look import bias
from plutao.look.vectors import analogy, map_of, neighbours, view_map, view_neighbours, views_analogy
from plutao.models.word_vectors import WordVectors


@pytest.fixture(scope="module")
def vectors() -> WordVectors:
    """Portuguese words of three groups, each about a corner of its own, and the words that a bias is measured by."""
    random = np.random.default_rng(0)
    groups = [["pai", "mãe", "filho", "filha", "irmão", "irmã"], ["azul", "verde", "branco", "preto"], ["dois", "três"]]
    rows = {
        word: np.eye(8)[group] + 0.1 * random.normal(size=8) for group, words in enumerate(groups) for word in words
    }
    of_bias = word_lists()["pt"]
    rows |= {word: random.normal(size=8) for word in of_bias.neutral}
    for first, second in of_bias.pairs:
        rows[first] = rows.get(first, random.normal(size=8))
        rows[second] = rows[first] + np.eye(8)[5]
    return WordVectors(list(rows), np.array(list(rows.values()), dtype=np.float32))


def test_a_map_keeps_near_what_is_near(vectors: WordVectors) -> None:
    asked = ["azul", "verde", "branco", "pai", "filho", "irmão", "dois", "três"]
    seen = map_of(vectors, asked, 2)
    assert [place.word for place in seen.places] == asked and seen.width == 8
    at = {place.word: np.array(place.at) for place in seen.places}
    assert np.linalg.norm(at["azul"] - at["verde"]) < 0.4 * np.linalg.norm(at["azul"] - at["dois"])
    assert sum(seen.shares) > 0.8 and seen.shares[0] >= seen.shares[1]
    with pytest.raises(UserError, match="4 words or more"):
        map_of(vectors, asked[:3], 3)


def test_a_map_shows_our_groups_where_no_words_are_asked_for(vectors: WordVectors) -> None:
    seen = map_of(vectors, dimensions=3)
    assert {"família", "cores", "números"} <= {place.group for place in seen.places}
    unknown = WordVectors([f"x{number}" for number in range(20)], np.eye(20, dtype=np.float32))
    assert {place.group for place in map_of(unknown, language="pt").places} == {"palavras frequentes"}


@pytest.mark.parametrize("language", ["en", "pt"])
def test_every_view_has_a_table_and_a_picture(vectors: WordVectors, language: str) -> None:
    views = [
        view_neighbours(neighbours(vectors, "azul", 4), language),
        *views_analogy(analogy(vectors, "pai mãe filho", 4), language),
        *(view_map(map_of(vectors, dimensions=dimensions), language) for dimensions in (2, 3)),
        *bias.views(measure(vectors, word_lists()["pt"]), language),
    ]
    for view in views:
        assert view.rows and all(len(row) == len(view.columns) for row in view.rows)
        assert view.figure.data
        assert "{" not in view.title + view.note
    assert views[0].rows[0][0] in ("verde", "branco", "preto")
    assert [view.figure.data[0].type for view in views[3:5]] == ["scatter", "scatter3d"]
