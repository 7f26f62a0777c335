"""Labelled rows: what is read, what is refused with its place, what is kept aside, and where answers lie in windows."""

import json
from pathlib import Path

import pytest
import torch

from plutao.data.labelled import Answer, Example, LabelledBatches, batch_of, kept_aside, read_labelled, windows
from plutao.errors import UserError
from plutao.text.bert import Row, signs_of
from plutao.text.tokenizer import Tokenizer, train

TEXT = "Plutão foi descoberto por Clyde Tombaugh em 1930, no Arizona. A lua maior de Plutão é Caronte."


def rows(path: Path, *some: dict[str, object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in some), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train("wordpiece", [TEXT, "Quem descobriu Plutão? Qual é a lua maior?"] * 4, 110)


def test_classes_numbers_and_answers_are_read(tmp_path: Path) -> None:
    place = rows(tmp_path / "a.jsonl", {"t": "a b", "h": "a", "label": 1, "score": "3.5"})
    assert read_labelled(place, "classification", "t", "h", "label") == [Example("a b", "a", label="1")]
    assert read_labelled(place, "similarity", "t", "h", "score")[0].number == 3.5
    start = TEXT.index("Clyde")
    squad = rows(
        tmp_path / "b.jsonl",
        {"context": TEXT, "question": "Quem?", "answers": [{"text": "Clyde Tombaugh", "answer_start": start + 2}]},
        {"context": TEXT, "question": "Quem?", "answers": {"text": ["1930"], "answer_start": [44]}},
        {"context": TEXT, "question": "Quem?", "answers": []},
    )
    found = read_labelled(squad, "answers", "context", "question", "answers")
    assert found[0].answers == (Answer("Clyde Tombaugh", start),), "an answer is found where it really stands"
    assert found[1].answers[0].text == "1930"
    assert found[2].answers == ()


@pytest.mark.parametrize(
    ("row", "kind", "message"),
    [
        ({"text": "a"}, "classification", "row 1 has no field 'label': it has text"),
        ({"texto": "a", "label": 1}, "classification", "row 1 has no text in field 'text'"),
        ({"text": "a", "label": "alto"}, "similarity", "row 1: label holds 'alto', not a number"),
        ({"text": "a", "label": ["x"]}, "classification", "not a class"),
        ({"text": "a", "label": ["x"]}, "answers", "not an answer, as"),
    ],
)
def test_a_row_that_does_not_fit_is_named(row: dict[str, object], kind: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        read_labelled(rows(tmp_path / "a.jsonl", row), kind, "text", None, "label")


def test_what_is_asked_about_one_text_stays_together() -> None:
    examples = [Example(f"text {number // 5}", f"question {number}") for number in range(100)]
    learned, measured = kept_aside(examples, 0.2, seed=1)
    assert not {one.text for one in learned} & {one.text for one in measured}
    assert len(measured) == 20 and len(learned) == 80
    assert kept_aside(examples, 0.2, seed=1)[1] == measured


def test_every_answer_lies_whole_in_a_window(tokenizer: Tokenizer) -> None:
    signs = signs_of(tokenizer)
    for said in ("Clyde Tombaugh", "1930", "Arizona", "Caronte"):
        example = Example(TEXT, "Qual é?", answers=(Answer(said, TEXT.index(said)),))
        cut = windows(example, 0, tokenizer, signs, 40)
        assert len(cut) > 1
        spans = [(window, window.span(example.answers[0])) for window in cut]
        found = [(window, span) for window, span in spans if span != (0, 0)]
        assert found
        for window, (first, last) in found:
            begin = window.places[first - window.first][0]
            end = window.places[last - window.first][1]
            assert TEXT[begin:end] == said
            assert window.row.segments[first] == 1


def test_batches_are_filled_up_and_every_row_comes_once_an_epoch() -> None:
    some = [Row([9] * (1 + number), [0] * (1 + number)) for number in range(6)]
    batch = batch_of(some, torch.arange(6), pad=7)
    assert batch.present.sum(1).tolist() == [1, 2, 3, 4, 5, 6]
    assert (batch.tokens[~batch.present] == 7).all()
    source = LabelledBatches(some, torch.arange(6), 7, 3, seed=1)
    assert sorted([*next(source).labels.tolist(), *next(source).labels.tolist()]) == list(range(6))
    again = LabelledBatches(some, torch.arange(6), 7, 3, seed=1)
    again.load_state_dict(source.state_dict())
    assert torch.equal(next(again).labels, next(source).labels)


@pytest.mark.real_data
def test_the_real_sets_are_read(real_data: Path) -> None:
    pairs = read_labelled(real_data / "eval/assin2_train_only_pt.jsonl.gz", "classification", "t", "h", "entailment")
    assert len(pairs) == 6_500 and {pair.label for pair in pairs} == {"Entailment", "None"}
    alike = read_labelled(real_data / "eval/assin_ptbr_train_pt.jsonl.gz", "similarity", "t", "h", "similarity")
    assert len(alike) == 2_500 and all(1 <= pair.number <= 5 for pair in alike)
    reviews = read_labelled(
        real_data / "eval/book_reviews_sentiment_pt.jsonl.gz", "classification", "text", None, "label"
    )
    assert {review.label for review in reviews} == {"0", "1"}
    asked = read_labelled(real_data / "sft/faquad_train_pt.jsonl.gz", "answers", "context", "question", "answers")
    assert len(asked) == 837 and all(one.answers for one in asked)
    assert all(one.text[a.start : a.start + len(a.text)] == a.text for one in asked for a in one.answers)
