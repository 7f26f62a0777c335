"""Batches of rankings: all pairs of a prompt in one element, many texts in a row, the same order for the same seed."""

from math import comb

import pytest

from plutao.data.pack import NOT_LEARNED
from plutao.data.panels import gathered, panel_of
from plutao.data.ranking_batches import RankedAnswers, RankingBatch, RankingBatches, encode_panels, fill_rows
from plutao.data.rankings import Labelled, Ranking
from plutao.errors import UserError
from plutao.text.chat import Message, ToolCall
from plutao.text.tokenizer import Tokenizer, train


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train("bpe", ["the sun and pluto talk about ice: a dwarf planet, of course, which is small.\n"] * 5, 300)


def labelled(answers: list[str], *labels: tuple[int, ...], prompt: str = "what is pluto?") -> Labelled:
    asked = (Message("user", prompt),)
    return Labelled(tuple(Ranking(asked, tuple(answers), ranks, prompt, "test") for ranks in labels))


def encoded(tokenizer: Tokenizer, *some: Labelled, context: int = 128) -> list[RankedAnswers]:
    return [element for element in encode_panels(gathered(some), tokenizer, context)[0] if element is not None]


def test_k_answers_give_all_their_pairs_each_by_its_share(tokenizer: Tokenizer) -> None:
    (element,) = encoded(tokenizer, labelled(["a", "b", "c", "d"], (1, 2, 3, 4)))
    assert len(element.pairs) == comb(4, 2) and all(weight == pytest.approx(1 / 6) for weight in element.weights)
    (tied,) = encoded(tokenizer, labelled(["a", "b", "c"], (1, 2, 2)))
    assert set(tied.pairs) == {(0, 1), (0, 2)} and sum(tied.weights) == pytest.approx(2 / 3)
    (two,) = encoded(tokenizer, labelled(["a", "b"], (1, 2), (2, 1), (1, 2)))
    assert dict(zip(two.pairs, two.weights, strict=True)) == {
        (0, 1): pytest.approx(2 / 3),
        (1, 0): pytest.approx(1 / 3),
    }


def test_what_teaches_nothing_is_left_out_and_counted(tokenizer: Tokenizer) -> None:
    some = [
        labelled(["a", "b"], (1, 1)),
        labelled(["a", "the sun " * 100], (1, 2)),
        labelled(["a", "b"], (1, 2), prompt="the sun " * 100),
        labelled(["a", "the sun " * 100, "b"], (1, 2, 3)),
    ]
    elements, left_out = encode_panels([panel_of(one) for one in some], tokenizer, 64)
    assert [element is None for element in elements] == [True, True, True, False]
    assert elements[3] is not None and elements[3].pairs == ((0, 1),)
    assert left_out.counts == {
        "only ties": 1,
        "fewer than two answers fit the context": 1,
        "prompt longer than the context": 1,
    }
    assert left_out.as_json()["answers too long for the context"] == 2


def test_the_rows_hold_every_text_once_and_learn_the_answers_alone(tokenizer: Tokenizer) -> None:
    elements = encoded(
        tokenizer, labelled(["ice", "a dwarf planet", "the sun"], (1, 2, 3)), labelled(["a", "b"], (2, 1))
    )
    batch = RankingBatch(elements, 128)
    reward = tokenizer.special("<|reward|>")
    assert int((batch.tokens == reward).sum()) == 5 and int(batch.segments.max()) == 5
    texts = [batch.tokens[batch.segments == number].tolist() for number in range(1, 6)]
    assert sorted(texts) == sorted(list(row) for element in elements for row in element.rows)
    learned = batch.targets != NOT_LEARNED
    spoken = [tokenizer.decode(batch.targets[learned & (batch.segments == number)].tolist()) for number in range(1, 6)]
    assert sorted(spoken) == sorted(f"{answer}<|im_end|>" for answer in ("ice", "a dwarf planet", "the sun", "a", "b"))
    # The pairs name texts in the order in which the rows hold them.
    said = [spoken[place].removesuffix("<|im_end|>") for place in range(5)]
    pairs = {(said[b], said[w]) for b, w in zip(batch.better.tolist(), batch.worse.tolist(), strict=True)}
    assert pairs == {("ice", "a dwarf planet"), ("ice", "the sun"), ("a dwarf planet", "the sun"), ("b", "a")}
    numbered = batch.by_element([float(number) for number in range(5)])
    assert [[said[int(number)] for number in some] for some in numbered] == [
        ["ice", "a dwarf planet", "the sun"],
        ["a", "b"],
    ]


def test_what_a_tool_gave_back_is_read_and_not_learned(tokenizer: Tokenizer) -> None:
    call = Message("assistant", tool_calls=(ToolCall("calculator", {"expression": "1+1"}),))
    turns = ((call, Message("tool", "which"), Message("assistant", "talk")), (Message("assistant", "ice"),))
    ranking = Ranking((Message("user", "sun?"),), ("talk", "ice"), (1, 2), "1", "test", turns=turns)
    (element,) = encoded(tokenizer, Labelled((ranking,)), context=256)
    batch = RankingBatch([element], 256)
    first = batch.segments == (1 if batch.by_element([0.0, 1.0])[0][0] == 0.0 else 2)
    learned = tokenizer.decode(batch.targets[first & (batch.targets != NOT_LEARNED)].tolist())
    read = tokenizer.decode(batch.tokens[first].tolist())
    assert "<tool_response>which" in read and "which" not in learned
    assert learned.startswith("<tool_call>") and learned.endswith("talk<|im_end|>")


def test_a_batch_is_split_between_prompts_never_within_one(tokenizer: Tokenizer) -> None:
    elements = encoded(tokenizer, *[labelled(["a", "b", "c"], (1, 2, 3), prompt=f"question {n}") for n in range(5)])
    pieces = RankingBatch(elements, 128).split(2)
    assert [piece.weight for piece in pieces] == [2, 2, 1]
    assert all(len(piece.better) == 3 * piece.rows for piece in pieces)


def test_rows_are_filled_well() -> None:
    rows = fill_rows({"a": 6, "b": 5, "c": 4, "d": 3, "e": 2}, 10)
    assert rows == [["a", "c"], ["b", "d", "e"]]


def test_the_same_seed_goes_on_in_the_same_order_on_any_number_of_processes(tokenizer: Tokenizer) -> None:
    elements = encoded(tokenizer, *[labelled(["a", "b"], (1, 2), prompt=f"question {n}") for n in range(10)])
    sources = {"first": elements[:7], "second": elements[7:]}

    def batches(rank: int = 0, world: int = 1, seed: int = 1) -> RankingBatches:
        return RankingBatches(sources, {}, 4, 128, seed, rank, world)

    whole = batches()
    steps = [next(whole).elements for _ in range(10)]
    seen = [element for step in steps[:2] for element in step] + list(steps[2][:2])
    assert sorted(seen, key=elements.index) == elements  # an epoch shows each once
    assert whole.epochs() == {"first": pytest.approx(4.0), "second": pytest.approx(4.0)}
    apart = [batches(rank, 2) for rank in range(2)]
    assert [[e for process in apart for e in next(process).elements] for _ in range(10)] == [
        list(step) for step in steps
    ]
    again = batches()
    state = batches()
    for _ in range(3):
        next(state)
    again.load_state_dict(state.state_dict())
    assert next(again).elements == steps[3]
    assert [next(other).elements for other in [batches(seed=2)]] != [steps[0]]
    with pytest.raises(UserError, match="there are now"):
        again.load_state_dict({"drawn": {"third": 1}})
    with pytest.raises(UserError, match="3 processes"):
        batches(0, 3)


def test_weights_mix_the_sources(tokenizer: Tokenizer) -> None:
    elements = encoded(tokenizer, *[labelled(["a", "b"], (1, 2), prompt=f"question {n}") for n in range(10)])
    batches = RankingBatches({"one": elements[:1], "nine": elements[1:]}, {"one": 1.0, "nine": 1.0}, 4, 128, 1)
    drawn = [element for _ in range(5) for element in next(batches).elements]
    assert sum(element == elements[0] for element in drawn) == 10
