"""What the page of the family says, in both languages."""

ENGLISH = {
    "title": "The family: from n-grams to the Transformer",
    "shows": "{name}: {time} of training each, {tokens} tokens of text, vocabulary {vocabulary}",
    "family": "Side by side",
    "family_note": "The same text, the same tokenizer, {time} of training each (n-grams are counted once and need "
    "less). Fewer bits per byte are better; the interval says how much chance there is in the text.",
    "context": "How much context each really uses",
    "context_note": "The loss on one token when only the last k tokens before it are shown. The ring: with so many the loss is "
    "within 1% of that with all. Where a line goes flat, more context is of no use to this model.",
    "texts": "What each writes, and how fast",
    "texts_note": "The same prompt (before the ▸) and the same random numbers. On a logarithmic scale: tokens a second in training, "
    "and of one text that is written token by token.",
    "story": "What each step bought",
    "story_note": "Each ancestor fails at something that the next one solves (the book's chapters 2 and 4).",
    "model": "model",
    "bits": "bits per byte",
    "perplexity": "perplexity per token",
    "parameters": "parameters",
    "read": "tokens read",
    "training": "trains, tokens/s",
    "writing": "writes, tokens/s",
    "memory": "model",
    "peak": "memory to train",
    "used": "context used",
    "of": "{used} of {shown}",
    "incomparable": "not comparable",
    "shown": "tokens of context shown (k)",
    "nats": "loss (nats per token)",
    "per_second": "tokens a second",
    "tokens_used": "tokens of context used",
    "text": "text",
    "bought": "what it brought",
    "lacked": "what it lacks",
}
PORTUGUESE = {
    "title": "A família: dos n-gramas ao Transformer",
    "shows": "{name}: {time} de treinamento para cada um, {tokens} tokens de texto, vocabulário de {vocabulary}",
    "family": "Lado a lado",
    "family_note": "O mesmo texto, o mesmo tokenizador, {time} de treinamento para cada um (os n-gramas são contados "
    "uma só vez e precisam de menos). Menos bits por byte é melhor; o intervalo diz quanto há de acaso no texto.",
    "context": "Quanto contexto cada um usa de verdade",
    "context_note": "A perda em um token quando só os últimos k tokens antes dele são mostrados. O anel: com esses k a perda fica a "
    "menos de 1% da perda com tudo. Onde a linha fica plana, mais contexto já não ajuda esse modelo.",
    "texts": "O que cada um escreve, e com que velocidade",
    "texts_note": "O mesmo início (antes do ▸) e os mesmos números aleatórios. Em escala logarítmica: tokens por segundo no "
    "treinamento, e de um texto escrito token por token.",
    "story": "O que cada passo trouxe",
    "story_note": "Cada antepassado falha em algo que o seguinte resolve (capítulos 2 e 4 do livro).",
    "model": "modelo",
    "bits": "bits por byte",
    "perplexity": "perplexidade por token",
    "parameters": "parâmetros",
    "read": "tokens lidos",
    "training": "treina, tokens/s",
    "writing": "escreve, tokens/s",
    "memory": "modelo",
    "peak": "memória para treinar",
    "used": "contexto usado",
    "of": "{used} de {shown}",
    "incomparable": "não comparável",
    "shown": "tokens de contexto mostrados (k)",
    "nats": "perda (nats por token)",
    "per_second": "tokens por segundo",
    "tokens_used": "tokens de contexto usados",
    "text": "texto",
    "bought": "o que trouxe",
    "lacked": "o que lhe falta",
}
WORDS = {"en": ENGLISH, "pt": PORTUGUESE}

NAMES = {
    "en": {
        "ngram": "n-grams",
        "mlp": "MLP",
        "rnn": "RNN",
        "gru": "GRU",
        "lstm": "LSTM",
        "decoder": "Transformer",
    },
    "pt": {
        "ngram": "n-gramas",
        "mlp": "MLP",
        "rnn": "RNN",
        "gru": "GRU",
        "lstm": "LSTM",
        "decoder": "Transformer",
    },
}

STORY = {
    "en": {
        "ngram": (
            "Probabilities from counting alone: no training, seconds for megabytes, exact for what was often seen.",
            "To it all words are equally different: a context it never saw word for word teaches it nothing, and most "
            "longer ones it never saw.",
        ),
        "mlp": (
            "Embeddings: words that behave alike lie close together, so what was learned of one serves the other "
            "(Bengio et al. 2003).",
            "Its window is fixed: what stands one token further back does not exist.",
        ),
        "rnn": (
            "A state that is carried on: in principle the whole past, with the same weights at every place.",
            "Gradients fade or explode on the way back, so in practice it remembers little.",
        ),
        "gru": (
            "Gates decide what of the state stays: two of them, and fewer numbers than an LSTM (Cho et al. 2014).",
            "One token after the other: it can't be trained on all places at once.",
        ),
        "lstm": (
            "A cell that is added to instead of overwritten carries gradients far back (Hochreiter & Schmidhuber 1997).",
            "The past has to fit into one vector, and still one token comes after the other.",
        ),
        "decoder": (
            "Attention: every place looks at every earlier one directly, all places are learned at once "
            "(Vaswani et al. 2017).",
            "The cost of looking grows with the square of the context, and it wants much text and computing.",
        ),
    },
    "pt": {
        "ngram": (
            "Probabilidades só de contar: sem treinamento, segundos para megabytes, exato no que apareceu muitas vezes.",
            "Para ele todas as palavras são igualmente diferentes: um contexto que nunca viu, palavra por palavra, não lhe "
            "ensina nada, e a maioria dos longos ele nunca viu.",
        ),
        "mlp": (
            "Embeddings: palavras que se comportam do mesmo jeito ficam perto umas das outras, e o que se aprendeu de uma serve "
            "para a outra (Bengio et al. 2003).",
            "A janela é fixa: o que está um token mais atrás não existe.",
        ),
        "rnn": (
            "Um estado que segue adiante: em princípio o passado inteiro, com os mesmos pesos em cada lugar.",
            "Os gradientes somem ou explodem no caminho de volta; na prática, lembra pouco.",
        ),
        "gru": (
            "Portas decidem o que fica do estado: duas, com menos números que uma LSTM (Cho et al. 2014).",
            "Um token depois do outro: não dá para aprender em todos os lugares ao mesmo tempo.",
        ),
        "lstm": (
            "Uma célula à qual se soma, em vez de se sobrescrever, leva os gradientes longe (Hochreiter & Schmidhuber 1997).",
            "O passado tem de caber em um vetor, e ainda é um token depois do outro.",
        ),
        "decoder": (
            "Atenção: cada lugar olha diretamente para todos os anteriores, e todos os lugares são aprendidos de uma vez "
            "(Vaswani et al. 2017).",
            "O custo de olhar cresce com o quadrado do contexto, e ele quer muito texto e muita computação.",
        ),
    },
}
"""What each member brought, and what it lacks."""
