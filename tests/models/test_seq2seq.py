"""The three translators: the Transformer of 2017 is PyTorch's, cells are PyTorch's, padding changes nothing, the future is hidden."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from plutao.errors import UserError
from plutao.models.seq2seq import Kind, Seq2Seq, Seq2SeqConfig, is_translation, load_seq2seq, make, save_seq2seq
from plutao.models.seq2seq_recurrent import AttentiveTranslator, RecurrentTranslator, reversed_rows
from plutao.models.seq2seq_transformer import Transformer, sinusoids

KINDS: list[Kind] = ["rnn", "attention", "transformer"]
PAD, START, END = 1, 4, 5


def model(kind: Kind, seed: int = 0, **changes: object) -> Seq2Seq:
    shape = {"vocabulary": 40, "layers": 2, "width": 32, "heads": 4, "hidden": 64, "dropout": 0.0} | changes
    made = make(Seq2SeqConfig(kind=kind, **shape))  # type: ignore[arg-type]
    made.initialise(seed)
    return made.eval()


def sentences(lengths: list[int], seed: int = 0) -> Tensor:
    """Rows of those lengths that end with END, filled up with padding."""
    draw = torch.Generator().manual_seed(seed)
    rows = torch.full((len(lengths), max(lengths)), PAD)
    for row, length in enumerate(lengths):
        rows[row, : length - 1] = torch.randint(6, 40, (length - 1,), generator=draw)
        rows[row, length - 1] = END
    return rows


# ------------------------------------------------------------------------------------------------- the Transformer of 2017


def theirs_with_weights_of(ours: Transformer) -> nn.Transformer:
    """torch.nn.Transformer in the paper's form (post-norm, ReLU), without the final norms that the paper does not have."""
    c = ours.config
    theirs = nn.Transformer(
        c.width,
        c.heads,
        c.layers,
        c.layers,
        c.hidden,
        dropout=0.0,
        activation="relu",
        batch_first=True,
        norm_first=False,
    ).eval()
    theirs.encoder.norm = theirs.decoder.norm = None  # type: ignore[assignment]

    def copy_attention(into: nn.MultiheadAttention, own: nn.Module) -> None:
        into.in_proj_weight.copy_(torch.cat([own.query.weight, own.key.weight, own.value.weight]))  # type: ignore[list-item]
        into.out_proj.weight.copy_(own.output.weight)  # type: ignore[arg-type]
        into.in_proj_bias.zero_()
        into.out_proj.bias.zero_()

    with torch.no_grad():
        for stack, layers in ((theirs.encoder, ours.encoder), (theirs.decoder, ours.decoder)):
            for into, own in zip(stack.layers, layers, strict=True):  # type: ignore[arg-type]
                copy_attention(into.self_attn, own.attention)
                into.norm1.load_state_dict(own.attention_norm.state_dict())
                last = into.norm2
                if stack is theirs.decoder:
                    copy_attention(into.multihead_attn, own.cross)
                    into.norm2.load_state_dict(own.cross_norm.state_dict())
                    last = into.norm3
                last.load_state_dict(own.feed_forward_norm.state_dict())
                into.linear1.load_state_dict(own.feed_forward.up.state_dict())
                into.linear2.load_state_dict(own.feed_forward.down.state_dict())
    return theirs


def test_it_is_torch_nn_transformer_under_the_same_weights() -> None:
    ours = model("transformer", layers=6, width=64, heads=8, hidden=128)
    assert isinstance(ours, Transformer)
    with torch.no_grad():  # norms and biases as after a training, not ones and zeros
        for parameter in ours.parameters():
            if parameter.ndim == 1:
                parameter.add_(
                    0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(parameter)))
                )
    theirs = theirs_with_weights_of(ours)
    source, tokens = sentences([9, 5, 7]), sentences([8, 8, 3], seed=1)
    scale, places = math.sqrt(64), sinusoids(16, 64)
    given = ours.source_embedding(source) * scale + places[:9]
    wanted = ours.embedding(tokens) * scale + places[:8]
    padding = source == PAD
    causal = nn.Transformer.generate_square_subsequent_mask(8)
    expected = theirs(
        given,
        wanted,
        tgt_mask=causal,
        src_key_padding_mask=padding,
        memory_key_padding_mask=padding,
        tgt_is_causal=True,
    )
    torch.testing.assert_close(ours.hidden(source, tokens), expected, atol=1e-5, rtol=0)
    logits = expected @ ours.embedding.weight.T
    torch.testing.assert_close(ours(source, tokens), logits, atol=1e-5, rtol=1e-5)


def test_positions_are_those_of_the_paper() -> None:
    """Section 3.5: PE(pos, 2i) = sin(pos ÷ 10000^(2i/D)), PE(pos, 2i + 1) = cos of the same."""
    table = sinusoids(300, 512)
    for position, i in [(0, 0), (1, 0), (7, 3), (299, 255)]:
        angle = position / 10_000 ** (2 * i / 512)
        assert table[position, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-6)
        assert table[position, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)


def test_the_base_model_of_the_paper_has_its_size() -> None:
    """Table 3 says 65 million parameters, with 37,000 tokens in one table."""
    config = Seq2SeqConfig(kind="transformer", vocabulary=37_000, layers=6, width=512, heads=8, hidden=2048)
    with torch.device("meta"):
        assert make(config).count_parameters() == pytest.approx(65e6, rel=0.04)


def test_one_table_serves_both_languages_and_the_output() -> None:
    one, three = model("transformer"), model("transformer", shared=False)
    assert one.head.weight is one.embedding.weight is one.source_embedding.weight
    assert three.count_parameters() - one.count_parameters() == 2 * 40 * 32


# ------------------------------------------------------------------------------------------------------ recurrent networks


def test_the_attentive_decoder_s_cell_is_torch_s_gru() -> None:
    ours = model("attention")
    assert isinstance(ours, AttentiveTranslator)
    cell = nn.GRUCell(32 + 64, 32)
    with torch.no_grad():
        cell.weight_ih.copy_(torch.cat((ours.from_word.weight, ours.from_context.weight), dim=1))
        cell.bias_ih.copy_(ours.from_word.bias)
        cell.weight_hh.copy_(ours.from_state.weight)
        cell.bias_hh.copy_(ours.from_state.bias)
    word, context, state = torch.randn(5, 32), torch.randn(5, 64), torch.randn(5, 32)
    expected = cell(torch.cat((word, context), dim=1), state)
    torch.testing.assert_close(ours.step(ours.from_word(word), state, context), expected, atol=1e-6, rtol=1e-5)


def test_attention_is_additive() -> None:
    """Bahdanau et al. 2015, appendix A.1.2: e = v · tanh(W·s + U·h), α = softmax(e), c = Σ α·h."""
    ours = model("attention")
    assert isinstance(ours, AttentiveTranslator)
    state, read = torch.randn(32), torch.randn(4, 64)
    v, w, u = ours.scores.weight[0], ours.asks.weight, ours.answers.weight
    energies = torch.stack([v @ torch.tanh(w @ state + u @ h) for h in read])
    weights = energies.exp() / energies.exp().sum()
    everywhere = torch.ones(1, 4, dtype=torch.bool)
    context, found = ours.look(state[None], read[None], ours.answers(read)[None], everywhere)
    torch.testing.assert_close(found[0], weights, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(context[0], weights @ read, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_source_is_read_backwards(cell: str) -> None:
    ours = model("rnn", cell=cell)
    assert isinstance(ours, RecurrentTranslator)
    source = sentences([6])
    after = ours.encoder(ours.source_embedding(source.flip(1)))[1]
    expected = after if isinstance(after, tuple) else (after,)
    for found, wanted in zip(ours.read(source), expected, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-5)
    both = sentences([6, 3])
    assert reversed_rows(both, torch.tensor([6, 3]))[1].tolist() == [*both[1, :3].flip(0).tolist(), PAD, PAD, PAD]


# ------------------------------------------------------------------------------------------------------- what all promise


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_nothing(kind: Kind) -> None:
    ours = model(kind)
    source, tokens = sentences([9, 4, 6]), sentences([7, 7, 3], seed=1)
    together = ours.hidden(source, tokens)
    for row, (read, written) in enumerate([(9, 7), (4, 7), (6, 3)]):
        alone = ours.hidden(source[row : row + 1, :read], tokens[row : row + 1, :written])
        torch.testing.assert_close(together[row, :written], alone[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_no_position_sees_what_comes_after_it(kind: Kind) -> None:
    ours = model(kind)
    source, tokens = sentences([6]), sentences([8], seed=1)
    changed = tokens.clone()
    changed[0, 5:] = 30
    one, other = ours.hidden(source, tokens), ours.hidden(source, changed)
    torch.testing.assert_close(one[:, :5], other[:, :5])
    assert not torch.allclose(one[:, 5], other[:, 5])


@pytest.mark.parametrize("kind", KINDS)
def test_every_source_token_matters(kind: Kind) -> None:
    ours = model(kind)
    source, tokens = sentences([6]), sentences([4], seed=1)
    for place in range(5):
        changed = source.clone()
        changed[0, place] = 6 if source[0, place] != 6 else 7
        assert not torch.allclose(ours.hidden(source, tokens), ours.hidden(changed, tokens), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_writing_token_by_token_is_reading_at_once(kind: Kind) -> None:
    ours = model(kind)
    source, tokens = sentences([9, 4]), sentences([6, 6], seed=1)
    state, found = ours.start(source), []
    for place in range(6):
        logits, state = ours.advance(tokens[:, place], state)
        found.append(logits)
    torch.testing.assert_close(torch.stack(found, dim=1), ours(source, tokens), atol=1e-5, rtol=1e-4)


def test_attention_of_all_three_kinds_comes_out() -> None:
    source, tokens = sentences([9, 4]), sentences([6, 6], seed=1)
    maps = model("transformer").attention(source, tokens)
    assert {name: tuple(each.shape) for name, each in maps.items()} == {
        "encoder": (2, 2, 4, 9, 9),
        "decoder": (2, 2, 4, 6, 6),
        "cross": (2, 2, 4, 6, 9),
    }
    for each in maps.values():
        torch.testing.assert_close(each.sum(-1), torch.ones(each.shape[:-1]))
    assert maps["encoder"][1, :, :, :, 4:].max() == 0 and maps["cross"][1, ..., 4:].max() == 0  # padding
    assert maps["decoder"].triu(1).max() == 0  # the future
    assert set(model("attention").attention(source, tokens)) == {"cross"} and not model("rnn").attention(source, tokens)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shared", [True, False])
def test_a_saved_model_comes_back(kind: Kind, shared: bool, tmp_path: Path) -> None:
    ours = model(kind, shared=shared)
    save_seq2seq(ours, tmp_path, source="fr", target="en")
    assert is_translation(tmp_path)
    back = load_seq2seq(tmp_path)
    source, tokens = sentences([5]), sentences([4], seed=1)
    assert torch.equal(ours(source, tokens), back(source, tokens))
    assert back.count_parameters() == ours.count_parameters()


def test_what_can_not_be_is_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="width of 30 can't be shared evenly by 4 heads"):
        model("transformer", width=30)
    save_seq2seq(model("transformer"), tmp_path)
    (tmp_path / "config.json").write_text((tmp_path / "config.json").read_text().replace('"layers": 2', '"layers": 3'))
    with pytest.raises(UserError, match="are not those of its"):
        load_seq2seq(tmp_path)
