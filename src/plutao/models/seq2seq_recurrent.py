"""Translators before the Transformer: recurrent networks, without and with attention (the book's section 4.2, Figure 104)."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from plutao.models.seq2seq import Seq2Seq, Seq2SeqConfig, State

SPREAD = 0.08  # initial weights lie between −0.08 and 0.08 (Sutskever et al. 2014, section 3.4)


def reversed_rows(source: Int[Tensor, "B S"], lengths: Int[Tensor, " B"]) -> Int[Tensor, "B S"]:
    """Each row backwards, its padding still behind."""
    places = torch.arange(source.shape[1], device=source.device)
    back = lengths[:, None] - 1 - places
    return source.gather(1, torch.where(back >= 0, back, places))


def initialise_uniformly(model: nn.Module, seed: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for parameter in model.parameters():
            nn.init.uniform_(parameter, -SPREAD, SPREAD)


class RecurrentTranslator(Seq2Seq):
    """One network reads the sentence into a state, another goes on from that state and writes (Sutskever et al. 2014; with
    GRU cells as Cho et al. 2014). The source is read backwards, as Sutskever et al. found better (section 3.3): the first
    words of both sentences come close to each other.
    """

    def __init__(self, config: Seq2SeqConfig) -> None:
        super().__init__(config)
        network = nn.LSTM if config.cell == "lstm" else nn.GRU
        between = config.dropout if config.layers > 1 else 0.0
        self.encoder = network(config.width, config.width, config.layers, batch_first=True, dropout=between)
        self.decoder = network(config.width, config.width, config.layers, batch_first=True, dropout=between)

    def initialise(self, seed: int) -> None:
        initialise_uniformly(self, seed)

    def drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.config.dropout, self.training)

    def read(self, source: Int[Tensor, "B S"]) -> tuple[Tensor, ...]:
        """The encoder's last states (layers, B, D): the vector C of the book's Figure 104. LSTMs have two."""
        lengths = self.present(source).sum(dim=1)
        embedded = self.drop(self.source_embedding(reversed_rows(source, lengths)))
        packed = pack_padded_sequence(embedded, lengths.cpu(), batch_first=True, enforce_sorted=False)
        states = self.encoder(packed)[1]
        return states if isinstance(states, tuple) else (states,)

    def write(self, tokens: Int[Tensor, "B T"], states: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        given = states if self.config.cell == "lstm" else states[0]
        output, after = self.decoder(self.drop(self.embedding(tokens)), given)
        return self.drop(output), after if isinstance(after, tuple) else (after,)

    def hidden(self, source: Int[Tensor, "B S"], tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        return self.write(tokens, self.read(source))[0]

    def start(self, source: Int[Tensor, "B S"]) -> State:
        return in_state(self.read(source))

    def advance(self, tokens: Int[Tensor, " B"], state: State) -> tuple[Float[Tensor, "B V"], State]:
        states = tuple(state[name].transpose(0, 1).contiguous() for name in ("hidden", "cell") if name in state)
        output, after = self.write(tokens[:, None], states)
        return self.head(output[:, 0]), in_state(after)

    def attention(
        self, source: Int[Tensor, "B S"], tokens: Int[Tensor, "B T"]
    ) -> dict[str, Float[Tensor, "B L H Q K"]]:
        """It has none: a vector is all that passes."""
        return {}


def in_state(states: tuple[Tensor, ...]) -> State:
    """(layers, B, D) with rows first."""
    return {name: tensor.transpose(0, 1) for name, tensor in zip(("hidden", "cell"), states, strict=False)}


class AttentiveTranslator(Seq2Seq):
    """Bahdanau et al. 2015 [102]: a network reads in both directions; for each word, a decoder of GRUs weighs all that was
    read by a small network (additive attention), and takes the weighted mean along.

    With h_j what was read at source position j, s the decoder's state, y the word written last: e_j = v · tanh(W·s + U·h_j),
    α = softmax(e), c = Σ α_j·h_j, s' = GRU([y; c], s), and the output layer reads maxout(U·s' + V·y + C·c). The paper's
    appendix gives s to the maxout; its equation 4 gives s', as here.
    """

    def __init__(self, config: Seq2SeqConfig) -> None:
        super().__init__(config)
        width = config.width
        between = config.dropout if config.layers > 1 else 0.0
        self.encoder = nn.GRU(width, width, config.layers, batch_first=True, dropout=between, bidirectional=True)
        self.first = nn.Linear(width, width)
        self.asks = nn.Linear(width, width, bias=False)
        self.answers = nn.Linear(2 * width, width, bias=False)
        self.scores = nn.Linear(width, 1, bias=False)
        self.from_word = nn.Linear(width, 3 * width)
        self.from_context = nn.Linear(2 * width, 3 * width, bias=False)
        self.from_state = nn.Linear(width, 3 * width)
        self.maxout_word = nn.Linear(width, 2 * width)
        self.maxout_rest = nn.Linear(3 * width, 2 * width, bias=False)

    def initialise(self, seed: int) -> None:
        initialise_uniformly(self, seed)

    def drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.config.dropout, self.training)

    def start(self, source: Int[Tensor, "B S"]) -> State:
        present = self.present(source)
        embedded = self.drop(self.source_embedding(source))
        packed = pack_padded_sequence(embedded, present.sum(dim=1).cpu(), batch_first=True, enforce_sorted=False)
        read = pad_packed_sequence(self.encoder(packed)[0], batch_first=True, total_length=source.shape[1])[0]
        read = self.drop(read)
        backwards = read[:, 0, self.config.width :]  # the state that has read the whole sentence from its end
        return {
            "memory": read,
            "memory_answers": self.answers(read),
            "memory_mask": present,
            "state": torch.tanh(self.first(backwards)),
        }

    def look(
        self,
        state: Float[Tensor, "B D"],
        read: Float[Tensor, "B S 2D"],
        answers: Float[Tensor, "B S D"],
        present: Bool[Tensor, "B S"],
    ) -> tuple[Float[Tensor, "B 2D"], Float[Tensor, "B S"]]:
        """The context c, and the weights α it was taken with."""
        energies = self.scores(torch.tanh(self.asks(state)[:, None] + answers))[..., 0]
        weights = energies.float().masked_fill(~present, float("-inf")).softmax(dim=-1)
        context = torch.bmm(weights[:, None].to(read.dtype), read)[:, 0]
        return context, weights

    def step(
        self, of_word: Float[Tensor, "B G"], state: Float[Tensor, "B D"], context: Float[Tensor, "B 2D"]
    ) -> Float[Tensor, "B D"]:
        """A gated recurrent unit (Cho et al. 2014, in the form of torch.nn.GRU): `of_word` is what the word gives its gates."""
        reset, update, new = (of_word + self.from_context(context)).chunk(3, dim=-1)
        reset_by, update_by, new_by = self.from_state(state).chunk(3, dim=-1)
        update = torch.sigmoid(update + update_by)
        new = torch.tanh(new + torch.sigmoid(reset + reset_by) * new_by)
        return new + update * (state - new)

    def write(
        self, tokens: Int[Tensor, "B T"], state: State
    ) -> tuple[Float[Tensor, "B T D"], Float[Tensor, "B D"], Float[Tensor, "B T S"]]:
        """What the output layer reads, the state after the last token, and the weights of attention."""
        words = self.drop(self.embedding(tokens))
        of_words = self.from_word(words).unbind(dim=1)  # for all words at once; the rest goes word by word
        now, seen, maps = state["state"], [], []
        for of_word in of_words:
            context, weights = self.look(now, state["memory"], state["memory_answers"], state["memory_mask"])
            now = self.step(of_word, now, context)
            seen.append(torch.cat((now, context), dim=-1))
            maps.append(weights)
        deep = self.maxout_word(words) + self.maxout_rest(self.drop(torch.stack(seen, dim=1)))
        return self.drop(deep.unflatten(-1, (-1, 2)).amax(dim=-1)), now, torch.stack(maps, dim=1)

    def hidden(self, source: Int[Tensor, "B S"], tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        return self.write(tokens, self.start(source))[0]

    def advance(self, tokens: Int[Tensor, " B"], state: State) -> tuple[Float[Tensor, "B V"], State]:
        output, after, _ = self.write(tokens[:, None], state)
        return self.head(output[:, 0]), state | {"state": after}

    def attention(
        self, source: Int[Tensor, "B S"], tokens: Int[Tensor, "B T"]
    ) -> dict[str, Float[Tensor, "B L H Q K"]]:
        """The weights α, as one layer of one head."""
        return {"cross": self.write(tokens, self.start(source))[2][:, None, None]}
