"""BLEU and chrF: sacrebleu's, with an interval that holds them."""

import pytest
import sacrebleu

from plutao.evaluate.translation import in_json, scores

REFERENCES = [
    f"the {animal} sees {number} birds in the old garden" for animal in ("cat", "dog", "fox") for number in range(9)
]
TRANSLATIONS = [text.replace("sees", "saw") if place % 3 else text for place, text in enumerate(REFERENCES)]


def test_they_are_sacrebleu_s_and_lie_in_their_interval() -> None:
    found = scores(TRANSLATIONS, REFERENCES)
    assert found["bleu"].value == sacrebleu.corpus_bleu(TRANSLATIONS, [REFERENCES]).score
    assert found["chrf"].value == sacrebleu.corpus_chrf(TRANSLATIONS, [REFERENCES]).score
    for score in found.values():
        assert 0 < score.low < score.value < score.high < 100 and score.n == 27
        assert "version:" in score.signature
    assert in_json(found)["bleu"]["value"] == found["bleu"].value


def test_perfect_is_100_and_nothing_right_is_0() -> None:
    perfect, wrong = scores(REFERENCES, REFERENCES), scores(["xyz"] * 27, REFERENCES)
    assert perfect["bleu"].value == pytest.approx(100) and perfect["chrf"].value == pytest.approx(100)
    assert (wrong["bleu"].value, wrong["bleu"].low, wrong["bleu"].high) == (0, 0, 0)
    assert scores(["one"], ["one"])["chrf"].low == scores(["one"], ["one"])["chrf"].high  # one sentence: no interval
