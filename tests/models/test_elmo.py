"""ELMo: characters, two directions, weighted layers; and what it is for: a word's vector depends on its sentence."""

from pathlib import Path

import pytest
import torch

from plutao.data.pack import Batch
from plutao.look.senses import measured, senses, written
from plutao.models import elmo
from plutao.models.elmo import BEGIN, END, NOTHING, Elmo, ElmoConfig, Mixture, spell, words_of
from plutao.stages.elmo import both_ways, losses
from plutao.text.tokenizer import Tokenizer, train

MONEY = [f"{did} o dinheiro no banco central" for did in ("guardei", "pus", "deixei", "juntei")]
SEAT = [f"{did} com frio no banco vermelho" for did in ("sentei", "dormi", "esperei", "fiquei")]
PLACE = 4
"""Of "banco" in all of them."""
SIZE = 16 + len(set(" ".join(MONEY + SEAT).split()))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train("word", [" ".join(MONEY + SEAT)], SIZE)


def small(tokenizer: Tokenizer, **changes: object) -> Elmo:
    shape = {"width": 16, "hidden": 24, "dropout": 0.0, **changes}
    model = Elmo(ElmoConfig(tokenizer.vocabulary_size, **shape))  # type: ignore[arg-type]
    model.initialise(0)
    model.learn_spelling(tokenizer)
    return model.eval()


def test_a_word_is_its_bytes_between_two_marks() -> None:
    table = spell(["pão", "x" * 50], 8).tolist()
    assert table[0] == [BEGIN, *"pão".encode(), END, NOTHING, NOTHING]
    assert table[1] == [BEGIN, *b"xxxxxx", END]


def test_sentences_are_cut_as_the_tokenizer_cuts(tokenizer: Tokenizer) -> None:
    text = "O banco, no jardim (dele), fechou: fim."
    assert words_of(text) == ["O", "banco", ",", "no", "jardim", "(", "dele", "),", "fechou", ":", "fim", "."]
    assert [tokenizer.token_text(token) for token in tokenizer.encode("o banco, central")] == [
        "o",
        "banco",
        "<|unk|>",
        "central",
    ]


def test_the_first_layer_does_not_see_the_sentence_and_the_others_do(tokenizer: Tokenizer) -> None:
    model = small(tokenizer)
    one, other = (model.vectors(words_of(text))[:, PLACE] for text in (MONEY[0], SEAT[0]))
    assert one.shape == (3, 32)
    assert torch.allclose(one[0], other[0], atol=1e-6)
    assert all((one[layer] - other[layer]).abs().max() > 1e-4 for layer in (1, 2))


def test_the_left_half_sees_what_stands_before_and_the_right_half_what_comes_after(tokenizer: Tokenizer) -> None:
    model = small(tokenizer)
    before = model.vectors(["o", "banco", "era"])[:, 1]
    after = model.vectors(["o", "banco", "pagou"])[:, 1]
    assert torch.allclose(before[:, :16], after[:, :16], atol=1e-6)
    assert (before[1:, 16:] - after[1:, 16:]).abs().max() > 1e-4


def test_neither_direction_sees_the_word_it_predicts(tokenizer: Tokenizer) -> None:
    """Changing a word changes the guesses at places after it from the left, and before it from the right, only."""
    model = small(tokenizer)
    row = torch.randint(16, SIZE, (1, 8), generator=torch.Generator().manual_seed(1))
    changed = row.clone()
    changed[0, 4] = 15
    for direction, (a, b) in enumerate(zip(model.both(row), model.both(changed), strict=True)):
        different = (a - b).abs().amax(-1)[0] > 1e-6
        assert different.tolist() == ([False] * 4 + [True] * 3 if direction == 0 else [False] * 3 + [True] * 4)


def test_the_mixture_is_the_papers_formula() -> None:
    layers = torch.randn(3, 5, 4)
    mixture = Mixture(3)
    assert torch.allclose(mixture(layers), layers.mean(0), atol=1e-6)
    with torch.no_grad():
        mixture.scores.copy_(torch.tensor([0.0, 1.0, 2.0]))
        mixture.scale.fill_(2.0)
    weights = torch.tensor([0.0, 1.0, 2.0]).exp() / (1 + torch.e + torch.e**2)
    assert torch.allclose(mixture(layers), 2 * (weights.view(3, 1, 1) * layers).sum(0), atol=1e-5)


def test_a_saved_model_comes_back_with_the_same_vectors(tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = small(tokenizer)
    elmo.save(model, tmp_path)
    tokenizer.save(tmp_path)
    loaded = elmo.load(tmp_path)
    words = words_of("o banco da praça, novo")
    assert torch.equal(model.vectors(words), loaded.vectors(words))
    rows = torch.randint(SIZE, (2, 9))
    assert torch.equal(losses(model, rows[:, :-1], rows[:, 1:])[0], losses(loaded, rows[:, :-1], rows[:, 1:])[0])


def test_it_learns_sentences_by_heart_and_then_tells_the_two_senses_apart(tokenizer: Tokenizer) -> None:
    """One batch overfitted; the vectors of "banco" are nearest to those of their own sense, and layer 0 can't do that."""
    model = small(tokenizer).train()
    end = tokenizer.end_of_text
    rows = [[end, *tokenizer.encode(sentence), end] for sentence in MONEY + SEAT]
    tokens = torch.tensor(rows)
    objective, optimizer = both_ways(), torch.optim.Adam(model.parameters(), lr=1e-2)
    batch = Batch(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous())
    first = float(objective(model, batch)[0].detach())
    for _ in range(60):
        loss, _ = objective(model, batch)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert float(loss.detach()) < 0.6 < 2 < first
    model.eval()
    vectors = torch.stack([model.vectors(words_of(text))[:, PLACE] for text in MONEY + SEAT], dim=1)
    sense = torch.tensor([0] * 4 + [1] * 4)
    layers = [measured(str(layer), each, sense[:, None] == sense) for layer, each in enumerate(vectors)]
    assert layers[0].within == pytest.approx(1.0) and layers[0].between == pytest.approx(1.0)
    assert layers[0].told_apart == pytest.approx(3 / 7)  # all alike: three of seven neighbours share the sense
    assert layers[2].told_apart == 1.0 and layers[2].within > layers[2].between + 0.004


def test_the_written_sentences_hold_their_word_once_and_as_many_for_each_sense() -> None:
    for word, each in written().items():
        assert len(each["names"]) == len(each["sentences"]) == 2
        assert len(each["sentences"][0]) == len(each["sentences"][1]) >= 8
        for sentence in [*each["sentences"][0], *each["sentences"][1]]:
            assert [one.lower() for one in words_of(sentence)].count(word) == 1, sentence


def test_the_look_at_senses_measures_every_layer_and_the_mixture(tokenizer: Tokenizer) -> None:
    seen = senses(small(tokenizer), "banco")
    assert [layer.name for layer in seen.layers] == ["characters", "1", "2", "mixture"]
    assert seen.layers[0].told_apart == pytest.approx(9 / 19) and len(seen.map) == 20
