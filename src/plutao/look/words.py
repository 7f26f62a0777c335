"""What the views say, in English and in Brazilian Portuguese; what texts and models say stays in its language."""

from plutao.errors import UserError
from plutao.look import words_memory

ENGLISH = {
    "token": "token",
    "id": "id",
    "bytes": "bytes",
    "size": "size",
    "probability": "probability",
    "log_probability": "log P (nats)",
    "logit": "logit",
    "rank": "rank",
    "bits": "bits",
    "others": "the other {count} tokens",
    "tokens": "Tokens",
    "tokens_note": "{words} words, {characters} characters and {bytes} bytes became {tokens} tokens: {ratio} bytes each. "
    "Tokenizer: {kind} with {vocabulary} tokens. · is a space, ⏎ a line end, \\xNN one byte of a character that is cut in "
    "two (the book, section 2.5, Figure 39).",
    "not_given_back": "From these tokens the text does not come back byte for byte.",
    "first_shown": "The first {count} are shown.",
    "next": "What comes after “{text}”",
    "first": "How a document begins",
    "first_of_answer": "How the answer begins",
    "next_note": "Entropy {bits} bits: as undecided as among {choices} equally probable tokens (the book, section 1.2.4, "
    "Figures 25 to 27; section 2.7, Figure 47).",
    "surprise": "Expected and found, token by token",
    "surprise_note": "Bits of surprise: −log2 of the probability of the token that came; {mean} a token on average. Rank 1: it "
    "was the most probable one.",
    "expected_token": "most probable",
    "its_probability": "with",
    "softmax": "From scores to a token, at temperature {temperature}",
    "softmax_note": "Each logit x is divided by T; e^(x/T), with the largest as 1, divided by the sum {denominator} of all is the "
    "probability. Sorted, they are added up until the sum passes the random number r = {r}: {before} ≤ r < {cumulative} is "
    "“{token}” (the book, section 2.8 and BOX 3, Figures 55 to 57).",
    "softmax_greedy": "Temperature 0 is greedy: no number is drawn, the most probable token “{token}” is taken (the book, "
    "section 2.8). The probabilities shown are those of temperature 1.",
    "cumulative": "sum so far",
    "chain": "The probability of the text, by the chain rule",
    "chain_note": "log P = {total} nats for {tokens} tokens; P = {product}; perplexity {perplexity} a token; {bits} bits per "
    "byte (the book, section 2.9, formula 2.9). <|endoftext|> stands in front.",
    "factor": "factor",
    "running": "sum of logarithms",
    "step": "One step of training: after “{text}” comes “{expected}”",
    "step_note": "Loss −ln p = {loss} nats (p = {probability}); after one step of plain gradient descent {after}; the slope "
    "promised {promised}. Learning rate {rate}. The gradient of each logit is p − y, predicted less expected (the book, "
    "Figures 51 to 53).",
    "predicted": "predicted p",
    "expected": "expected y",
    "after": "after",
    "before": "before",
    "weights": "What changed: the weight with the steepest gradient in each part",
    "weights_note": "after = before − learning rate × gradient, for all {parameters} weights. The gradient of all of them has "
    "length {norm}; the last column tells how much of the error reached each part on its way back (the book, section 4.1, "
    "Figure 102).",
    "part": "part",
    "weight": "weight",
    "gradient": "gradient",
    "part_gradient": "length of the gradient",
    "neuron": "One neuron: the score of “{token}”",
    "neuron_note": "w₁·x₁ + … + wₙ·xₙ = {output}: the logit. Positive products excite, negative ones inhibit; ∂L/∂w = "
    "(p − y) · x (the book, section 4.1, formula 4.1, Figures 100 to 102).",
    "input": "input",
    "other_inputs": "the other {count} inputs",
    "fill": "What may stand in hole {number} of “{text}”",
    "fill_note": "The model reads both sides of the hole (the book, section 2.12; Devlin et al. 2019). Each hole is filled in on "
    "its own, the others left as holes; ## continues the word before it.",
    "image": "This looks like “{name}”",
    "image_note": "The probability of each class, by softmax of the model's scores.",
    "image_right": "It is “{name}” (▶).",
    "image_itself": "the image",
    "class": "class",
    "patches": "{count} patches of {patch} × {patch} pixels, and what the class token took from each",
    "patches_note": "Row and column of the patch, and the share of it that reaches the class token through all layers (rollout: "
    "Abnar & Zuidema 2020). The numbered maps are the heads of the last layer. An image is a row of patches to a Transformer (the "
    "book, conclusion; Dosovitskiy et al. 2021).",
    "patch_place": "patch (row, column)",
    "attention": "attention",
    "filters": "The first {count} filters, and where each found what it looks for",
    "filters_note": "Each filter is a square of 3 × 3 weights, the same for every place of the image (the book, section 4.2). In "
    "the picture: the image, the filters, and what each found; below: the place of its strongest response.",
    "filter": "filter",
    "filter_place": "strongest at (row, column)",
    "filter_strength": "response",
    "page_title": "A look inside",
    "shows": "{run}, stage {stage}",
    "shows_step": "{run}, stage {stage}, step {step}",
}

PORTUGUESE = {
    "token": "token",
    "id": "id",
    "bytes": "bytes",
    "size": "tamanho",
    "probability": "probabilidade",
    "log_probability": "log P (nats)",
    "logit": "logit",
    "rank": "posição",
    "bits": "bits",
    "others": "os outros {count} tokens",
    "tokens": "Tokens",
    "tokens_note": "{words} palavras, {characters} caracteres e {bytes} bytes viraram {tokens} tokens: {ratio} bytes cada um. "
    "Tokenizador: {kind} com {vocabulary} tokens. · é um espaço, ⏎ um fim de linha, \\xNN um byte de um caractere partido em "
    "dois (o livro, seção 2.5, Figura 39).",
    "not_given_back": "Destes tokens o texto não volta byte a byte.",
    "first_shown": "São mostrados os primeiros {count}.",
    "next": "O que vem depois de “{text}”",
    "first": "Como um documento começa",
    "first_of_answer": "Como a resposta começa",
    "next_note": "Entropia de {bits} bits: tão indeciso quanto entre {choices} tokens igualmente prováveis (o livro, seção "
    "1.2.4, Figuras 25 a 27; seção 2.7, Figura 47).",
    "surprise": "Esperado e encontrado, token por token",
    "surprise_note": "Bits de surpresa: −log2 da probabilidade do token que veio; {mean} por token em média. Posição 1: era o "
    "mais provável.",
    "expected_token": "mais provável",
    "its_probability": "com",
    "softmax": "Dos logits ao token, com temperatura {temperature}",
    "softmax_note": "Cada logit x é dividido por T; e^(x/T), com o maior valendo 1, dividido pela soma {denominator} de todos é a "
    "probabilidade. Ordenadas, elas são somadas até a soma passar do número aleatório r = {r}: {before} ≤ r < {cumulative} é "
    "“{token}” (o livro, seção 2.8 e BOX 3, Figuras 55 a 57).",
    "softmax_greedy": "Temperatura 0 é a escolha gulosa: nenhum número é sorteado, vale o token mais provável, “{token}” (o "
    "livro, seção 2.8). As probabilidades mostradas são as da temperatura 1.",
    "cumulative": "soma acumulada",
    "chain": "A probabilidade do texto, pela regra da cadeia",
    "chain_note": "log P = {total} nats em {tokens} tokens; P = {product}; perplexidade {perplexity} por token; {bits} bits por "
    "byte (o livro, seção 2.9, fórmula 2.9). <|endoftext|> fica na frente.",
    "factor": "fator",
    "running": "soma dos logaritmos",
    "step": "Um passo de treinamento: depois de “{text}” vem “{expected}”",
    "step_note": "Perda −ln p = {loss} nats (p = {probability}); depois de um passo de gradiente descendente simples, {after}; "
    "a inclinação prometia {promised}. Taxa de aprendizado {rate}. O gradiente de cada logit é p − y, o previsto menos o "
    "esperado (o livro, Figuras 51 a 53).",
    "predicted": "previsto p",
    "expected": "esperado y",
    "after": "depois",
    "before": "antes",
    "weights": "O que mudou: o peso de gradiente mais forte de cada parte",
    "weights_note": "depois = antes − taxa de aprendizado × gradiente, para todos os {parameters} pesos. O gradiente de todos "
    "tem comprimento {norm}; a última coluna diz quanto do erro chegou a cada parte no caminho de volta (o livro, seção 4.1, "
    "Figura 102).",
    "part": "parte",
    "weight": "peso",
    "gradient": "gradiente",
    "part_gradient": "comprimento do gradiente",
    "neuron": "Um neurônio: o logit de “{token}”",
    "neuron_note": "w₁·x₁ + … + wₙ·xₙ = {output}: o logit. Produtos positivos excitam, negativos inibem; ∂L/∂w = (p − y) · x "
    "(o livro, seção 4.1, fórmula 4.1, Figuras 100 a 102).",
    "input": "entrada",
    "other_inputs": "as outras {count} entradas",
    "fill": "O que pode ficar na lacuna {number} de “{text}”",
    "fill_note": "O modelo lê os dois lados da lacuna (o livro, seção 2.12; Devlin et al. 2019). Cada lacuna é preenchida "
    "sozinha, com as outras ainda abertas; ## continua a palavra anterior.",
    "image": "Isto parece “{name}”",
    "image_note": "A probabilidade de cada classe, pelo softmax das notas do modelo.",
    "image_right": "É “{name}” (▶).",
    "image_itself": "a imagem",
    "class": "classe",
    "patches": "{count} retalhos de {patch} × {patch} pixels, e o que o token de classe tomou de cada um",
    "patches_note": "Linha e coluna do retalho, e a parte dele que chega ao token de classe através de todas as camadas (rollout: "
    "Abnar & Zuidema 2020). Os mapas numerados são as cabeças da última camada. Para um Transformer, uma imagem é uma fila de "
    "retalhos (o livro, conclusão; Dosovitskiy et al. 2021).",
    "patch_place": "retalho (linha, coluna)",
    "attention": "atenção",
    "filters": "Os primeiros {count} filtros, e onde cada um achou o que procura",
    "filters_note": "Cada filtro é um quadrado de 3 × 3 pesos, os mesmos em todos os lugares da imagem (o livro, seção 4.2). Na "
    "figura: a imagem, os filtros e o que cada um achou; na tabela, o lugar da resposta mais forte.",
    "filter": "filtro",
    "filter_place": "mais forte em (linha, coluna)",
    "filter_strength": "resposta",
    "page_title": "Um olhar por dentro",
    "shows": "{run}, etapa {stage}",
    "shows_step": "{run}, etapa {stage}, passo {step}",
}

LANGUAGES = {"en": ENGLISH | words_memory.ENGLISH, "pt": PORTUGUESE | words_memory.PORTUGUESE}


def phrases(language: str) -> dict[str, str]:
    """The dictionary of a language.

    Raises:
        UserError: a language the views do not speak.
    """
    if language not in LANGUAGES:
        raise UserError(f"The views speak {' and '.join(LANGUAGES)}, not {language!r}: choose one of them.")
    return LANGUAGES[language]
