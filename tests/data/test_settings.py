"""What a recipe may say of its sources."""

import pytest
from pydantic import ValidationError

from plutao.data.settings import DataSettings, Source


def test_an_encoding_must_be_one_that_python_knows():
    assert Source(name="a", path="x", encoding="latin-1").encoding == "latin-1"
    with pytest.raises(ValidationError, match="'latim' is not an encoding"):
        Source(name="a", path="x", encoding="latim")


def test_weights_are_given_to_all_sources_or_to_none():
    weighed, unweighed = Source(name="a", path="x", weight=1), Source(name="b", path="y")
    assert DataSettings(sources=(unweighed,)).sources[0].weight is None
    with pytest.raises(ValidationError, match="source 'b' has no weight and others do"):
        DataSettings(sources=(weighed, unweighed))


@pytest.mark.parametrize("origins", [{}, {"path": "x", "corpus": "y"}, {"path": "x", "world": "solar"}])
def test_a_source_has_exactly_one_origin(origins):
    with pytest.raises(ValidationError, match="exactly one of path, corpus and world"):
        Source(name="a", **origins)


def test_two_sources_of_one_name_are_refused():
    with pytest.raises(ValidationError, match="two sources are called 'a'"):
        DataSettings(sources=(Source(name="a", path="x"), Source(name="a", path="y")))
