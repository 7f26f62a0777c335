"""How a sentence is translated, step by step, and where each step looks (the book, section 4.5.2.1, Figures 154 to 159)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from plutao.errors import UserError
from plutao.generate.beam import forbid
from plutao.generate.translator import Translator
from plutao.look.view import View, canvas, heat_marker, label, numbers, percent
from plutao.look.words import phrases

if TYPE_CHECKING:
    import plotly.graph_objects as go

SOS, EOS = "<sos>", "<eos>"
KINDS = ("encoder", "decoder", "cross")
WORDS = {
    "en": {
        "steps": "“{text}”, token by token: “{translation}”",
        "steps_note": "{model} from {source} to {target}. At each step the decoder reads all it has written, from {sos} on, and "
        "gives every token of the vocabulary a probability; the token of the best sentence is taken and read at the next step, "
        "until it is {eos} (the book, section 4.5.2.1, Figures 154 to 159). {search} log P = {log_probability} nats.",
        "beam": "The sentence was searched for with a beam of {beam}.",
        "greedy": "The most probable token is always taken.",
        "step": "step",
        "reads": "reads",
        "writes": "writes",
        "probability": "probability",
        "instead": "else",
        "looks": "looks at most",
        "nothing": "nothing",
        "encoder": "Attention within the encoder: “{text}” looks at itself",
        "decoder": "Attention within the decoder: what is written looks at what was written before",
        "cross": "Attention of the decoder to the encoder: what each word is translated from",
        "attention_note": "{which}. Each row adds up to 1 (the book, section 4.4; Bahdanau et al. 2015, Figure 3; Vaswani et al. "
        "2017, section 3.2).",
        "one_head": "Layer {layer} of {layers}, head {head} of {heads}",
        "all_heads": "Layer {layer} of {layers}, mean of its {heads} heads",
        "one_layer": "Its only attention",
        "looking": "looks",
    },
    "pt": {
        "steps": "“{text}”, token por token: “{translation}”",
        "steps_note": "{model} de {source} para {target}. A cada passo o decoder lê tudo o que escreveu, a partir de {sos}, e dá "
        "uma probabilidade a cada token do vocabulário; o token da melhor frase é escolhido e lido no passo seguinte, até vir "
        "{eos} (o livro, seção 4.5.2.1, Figuras 154 a 159). {search} log P = {log_probability} nats.",
        "beam": "A frase foi procurada com um feixe de {beam}.",
        "greedy": "É escolhido sempre o token mais provável.",
        "step": "passo",
        "reads": "lê",
        "writes": "escreve",
        "probability": "probabilidade",
        "instead": "senão",
        "looks": "olha mais para",
        "nothing": "nada",
        "encoder": "Atenção dentro do encoder: “{text}” olha para si mesma",
        "decoder": "Atenção dentro do decoder: o que é escrito olha para o que foi escrito antes",
        "cross": "Atenção do decoder ao encoder: de que cada palavra é traduzida",
        "attention_note": "{which}. Cada linha soma 1 (o livro, seção 4.4; Bahdanau et al. 2015, Figura 3; Vaswani et al. 2017, "
        "seção 3.2).",
        "one_head": "Camada {layer} de {layers}, cabeça {head} de {heads}",
        "all_heads": "Camada {layer} de {layers}, média das suas {heads} cabeças",
        "one_layer": "Sua única atenção",
        "looking": "olha",
    },
}


@dataclass(frozen=True)
class Step:
    """One step of the decoder."""

    reads: list[str]
    """All it has written, from <sos> on."""
    writes: str
    probability: float
    instead: list[tuple[str, float]]
    """The most probable other tokens."""
    looks_at: list[float]
    """How much it takes from each source token, in the mean of all layers and heads; empty for a model without attention."""


@dataclass(frozen=True)
class Decoding:
    """A translation, step by step."""

    text: str
    translation: str
    model: str
    """Its kind: rnn, attention, transformer."""
    languages: tuple[str, str]
    beam: int
    log_probability: float
    source: list[str]
    """The source's tokens; <eos> last."""
    steps: list[Step]
    attention: dict[str, list[list[list[list[float]]]]]
    """By kind (encoder, decoder, cross): layer, head, who looks, at whom."""

    @property
    def written(self) -> list[str]:
        """The tokens that the decoder wrote; <eos> last."""
        return [step.writes for step in self.steps]

    @property
    def read(self) -> list[str]:
        """The tokens that the decoder read; <sos> first."""
        return self.steps[-1].reads


@torch.inference_mode()
def decoding(translator: Translator, text: str, beam: int | None = None, top: int = 3) -> Decoding:
    """Translates a sentence and tells how.

    Args:
        beam: hypotheses kept side by side (1: greedy); the translator's own where None.
        top: other tokens told at each step.

    Raises:
        UserError: the text is empty, or more than one line.
    """
    if not text.strip() or len(text.splitlines()) > 1:
        raise UserError("A single sentence is translated step by step: give one, on one line.")
    model, tokenizer = translator.model.eval(), translator.tokenizer
    beam = beam or translator.beam
    best = translator.translate([text], beam)[0][0]
    source = translator.encode(text)
    rows, tokens = torch.tensor([source]), torch.tensor([[model.config.start, *best.tokens]])
    steps = forbid(model, model(rows, tokens), tokenizer.vocabulary_size)[0].exp()
    maps = {name: each[0] for name, each in model.attention(rows, tokens).items()}
    crossing = maps["cross"].mean(dim=(0, 1)).tolist() if "cross" in maps else [[] for _ in range(len(steps))]
    shown = [SOS, *(tokenizer.token_text(token) for token in best.tokens)]
    told = []
    for place, taken in enumerate([*best.tokens, model.config.end]):
        others = [each for each in steps[place].topk(min(top + 1, len(steps[place]))).indices.tolist() if each != taken]
        alternatives = [(name_of(translator, each), float(steps[place, each])) for each in others[:top]]
        name, probability = name_of(translator, taken), float(steps[place, taken])
        told.append(Step(shown[: place + 1], name, probability, alternatives, crossing[place]))
    return Decoding(
        text,
        best.text,
        model.config.kind,
        (translator.source, translator.target),
        beam,
        best.log_probability,
        [name_of(translator, token) for token in source],
        told,
        {name: each.tolist() for name, each in maps.items()},
    )


def name_of(translator: Translator, token: int) -> str:
    return EOS if token == translator.model.config.end else translator.tokenizer.token_text(token)


# ---------------------------------------------------------------------------------------------------------------------
# To be seen


def view(seen: Decoding, language: str = "en") -> View:
    """The steps: what was read, what was written, how sure the model was, where it looked."""
    phrases(language)
    say, form = WORDS[language], numbers(language)
    note = say["steps_note"].format(
        model=seen.model,
        source=seen.languages[0],
        target=seen.languages[1],
        sos=SOS,
        eos=EOS,
        search=say["greedy"] if seen.beam == 1 else say["beam"].format(beam=seen.beam),
        log_probability=form.number(seen.log_probability, 2),
    )
    rows = []
    for number, step in enumerate(seen.steps, start=1):
        instead = ", ".join(f"{visible(text)} {percent(form, probability)}" for text, probability in step.instead)
        looked = max(range(len(step.looks_at)), key=step.looks_at.__getitem__) if step.looks_at else None
        most = (
            say["nothing"]
            if looked is None
            else f"{visible(seen.source[looked])} {percent(form, step.looks_at[looked])}"
        )
        reads = " ".join(visible(text) for text in step.reads)
        rows.append([str(number), reads, visible(step.writes), percent(form, step.probability), instead, most])
    probabilities = [step.probability for step in seen.steps]

    def draw() -> "go.Figure":
        figure = canvas(say["probability"], "", language, height=120 + 32 * len(seen.steps))
        names = [f"{number}. {label(visible(step.writes))}" for number, step in enumerate(seen.steps, start=1)]
        figure.add_bar(
            x=probabilities, y=names, orientation="h", marker=heat_marker(probabilities), name=say["probability"]
        )
        figure.update_xaxes(range=[0, 1])
        figure.update_yaxes(autorange="reversed", type="category")
        return figure

    return View(
        id="translation",
        title=say["steps"].format(text=seen.text, translation=seen.translation),
        note=note,
        columns=[say[key] for key in ("step", "reads", "writes", "probability", "instead", "looks")],
        rows=rows,
        draw=draw,
        heat=probabilities,
        heated=3,
        names=3,
    )


def view_attention(
    seen: Decoding, kind: str = "cross", layer: int | None = None, head: int | None = None, language: str = "en"
) -> View:
    """One kind of attention as a heat map: the mean of a layer's heads, or one head.

    Args:
        kind: "encoder", "decoder" or "cross".
        layer: counted from 1; the last one where None.
        head: counted from 1; the mean of all where None.

    Raises:
        UserError: the model has no such attention, layer or head.
    """
    phrases(language)
    say, form = WORDS[language], numbers(language)
    weights, which = chosen(seen, kind, layer, head, say)
    across = seen.source if kind != "decoder" else seen.read
    down = {"encoder": seen.source, "decoder": seen.read, "cross": seen.written}[kind]
    columns, names = [visible(text) for text in across], [visible(text) for text in down]

    def draw() -> "go.Figure":
        figure = canvas("", "", language, height=160 + 30 * len(names))
        numbered = [f"{number}. {label(name)}" for number, name in enumerate(columns, start=1)]
        figure.add_heatmap(
            z=weights,
            x=numbered,
            y=[f"{number}. {label(name)}" for number, name in enumerate(names, start=1)],
            zmin=0,
            zmax=1,
            colorscale="Cividis",
            hovertemplate="%{y} → %{x}: %{z:.3f}<extra></extra>",
        )
        figure.update_yaxes(autorange="reversed", type="category")
        figure.update_xaxes(side="top", type="category")
        return figure

    return View(
        id=f"attention-{kind}",
        title=say[kind].format(text=seen.text),
        note=say["attention_note"].format(which=which),
        columns=[say["looking"], *columns],
        rows=[[name, *(form.number(weight, 2) for weight in row)] for name, row in zip(names, weights, strict=True)],
        draw=draw,
    )


def chosen(
    seen: Decoding, kind: str, layer: int | None, head: int | None, say: dict[str, str]
) -> tuple[list[list[float]], str]:
    """The weights of a layer's head, or the mean of its heads, and which that is, in words."""
    maps = seen.attention.get(kind)
    if maps is None:
        there = ", ".join(seen.attention) or "none at all"
        raise UserError(f"A model of kind {seen.model} has no attention called {kind!r}; it has: {there}.")
    layers, heads = len(maps), len(maps[0])
    layer = layers if layer is None else layer
    if not 1 <= layer <= layers or (head is not None and not 1 <= head <= heads):
        raise UserError(f"This model has layers 1 to {layers} and heads 1 to {heads}: choose among them.")
    weights = maps[layer - 1]
    amounts = {"layer": layer, "layers": layers, "head": head, "heads": heads}
    if layers == heads == 1:
        return weights[0], say["one_layer"]
    if head is not None:
        return weights[head - 1], say["one_head"].format(**amounts)
    return torch.tensor(weights).mean(dim=0).tolist(), say["all_heads"].format(**amounts)


def views(seen: Decoding, layer: int | None = None, head: int | None = None, language: str = "en") -> list[View]:
    """The steps, and every kind of attention that the model has, cross-attention first."""
    kinds = [kind for kind in reversed(KINDS) if kind in seen.attention]
    return [view(seen, language), *(view_attention(seen, kind, layer, head, language) for kind in kinds)]


def visible(text: str) -> str:
    """A token with its blanks to be seen."""
    return text.replace(" ", "·").replace("\n", "⏎")
