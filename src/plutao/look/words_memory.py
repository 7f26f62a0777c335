"""What the views of memory say (gradients, recall, senses), in English and in Brazilian Portuguese."""

ENGLISH = {
    "gradients": "How much of an error reaches the steps before it",
    "gradients_note": "Length of the gradient that each earlier step adds to that of the weights, in fresh cells of 64 units. The "
    "plain RNN's shrinks at every step (it vanishes); with recurrent weights {times} times as large it grows (it explodes): all "
    "steps together {total}, which clipping cuts down to {clip}, the direction staying as it is. Clipping bounds, it does not "
    "bring back what vanished. The LSTM's memory is only added to and passes through its forget gate alone (the book, section "
    "4.2; Hochreiter 1991; Bengio et al. 1994; Pascanu et al. 2013).",
    "steps_back": "steps back",
    "gradient_norm": "length of the gradient",
    "clipped": "clipped",
    "larger_clipped": "exploding RNN, clipped",
    "curve_rnn": "RNN",
    "curve_rnn_larger": "RNN, larger weights",
    "curve_gru": "GRU",
    "curve_lstm": "LSTM",
    "curve_decoder": "Transformer",
    "curve_plain": "without residual connections",
    "curve_residual": "with residual connections",
    "depth": "The same through depth: a stack of {layers} layers",
    "depth_note": "Length of the gradient of each layer's weights, counted from the last. With x + f(x) in place of f(x) the error "
    "has a way back that leads through no weights (the book, BOX 9; He et al. 2016).",
    "layers_down": "layers down",
    "recall": "What is remembered, by distance",
    "recall_note": "One of {symbols} symbols is shown, noise follows, then the symbol is asked for. Each model learned {steps} "
    "steps on distances up to 60, gradients clipped; {tested} fresh rows a distance; by chance {chance} are right. Parameters: "
    "{parameters}. An RNN must carry the symbol through every step; gates guard it; attention looks straight back at it (the "
    "book, sections 4.2 and 4.3).",
    "distance": "distance",
    "given_back": "given back rightly",
    "chance": "chance",
    "senses": "The two senses of “{word}”",
    "senses_note": "Cosine of the word's vectors in two sentences, on average over pairs of {counts} sentences; told apart: how often "
    "the sentence with the nearest vector has the same sense (by chance about half). Layer 0 knows only the word's characters, so "
    "its vectors are all the same; the mixture weighs all layers equally (the book, section 2.12; Peters et al. 2018).",
    "layer": "layer",
    "layer_characters": "0 (characters)",
    "layer_mixture": "mixture",
    "within": "same sense",
    "between": "different senses",
    "told_apart": "told apart",
    "senses_map": "each sentence's vector, its two main directions",
}

PORTUGUESE = {
    "gradients": "Quanto de um erro chega aos passos anteriores",
    "gradients_note": "Comprimento do gradiente que cada passo anterior soma ao dos pesos, em células novas de 64 unidades. O da "
    "RNN simples encolhe a cada passo (desaparece); com pesos recorrentes {times} vezes maiores ele cresce (explode): todos os "
    "passos juntos, {total}, que o corte (clipping) reduz a {clip}, sem mudar a direção. O corte limita, mas não traz de volta o "
    "que desapareceu. À memória da LSTM só se soma, e ela passa apenas pela porta do esquecimento (o livro, seção 4.2; "
    "Hochreiter 1991; Bengio et al. 1994; Pascanu et al. 2013).",
    "steps_back": "passos atrás",
    "gradient_norm": "comprimento do gradiente",
    "clipped": "com corte",
    "larger_clipped": "RNN que explode, com corte",
    "curve_rnn": "RNN",
    "curve_rnn_larger": "RNN, pesos maiores",
    "curve_gru": "GRU",
    "curve_lstm": "LSTM",
    "curve_decoder": "Transformer",
    "curve_plain": "sem conexões residuais",
    "curve_residual": "com conexões residuais",
    "depth": "O mesmo em profundidade: uma pilha de {layers} camadas",
    "depth_note": "Comprimento do gradiente dos pesos de cada camada, contando a partir da última. Com x + f(x) no lugar de f(x), o "
    "erro tem um caminho de volta que não passa por peso nenhum (o livro, BOX 9; He et al. 2016).",
    "layers_down": "camadas abaixo",
    "recall": "O que é lembrado, por distância",
    "recall_note": "Um de {symbols} símbolos é mostrado, segue-se ruído, depois o símbolo é pedido. Cada modelo aprendeu por {steps} "
    "passos, em distâncias de até 60, com gradientes cortados; {tested} linhas novas por distância; por acaso, {chance} acertam. "
    "Parâmetros: {parameters}. Uma RNN precisa carregar o símbolo por todos os passos; portas o protegem; a atenção olha direto "
    "para ele (o livro, seções 4.2 e 4.3).",
    "distance": "distância",
    "given_back": "devolvidos certos",
    "chance": "acaso",
    "senses": "Os dois sentidos de “{word}”",
    "senses_note": "Cosseno dos vetores da palavra em duas frases, na média dos pares de {counts} frases; distinguidos: com que "
    "frequência a frase do vetor mais próximo tem o mesmo sentido (por acaso, cerca de metade). A camada 0 só conhece os "
    "caracteres da palavra, por isso seus vetores são todos iguais; a mistura pesa igualmente todas as camadas (o livro, seção "
    "2.12; Peters et al. 2018).",
    "layer": "camada",
    "layer_characters": "0 (caracteres)",
    "layer_mixture": "mistura",
    "within": "mesmo sentido",
    "between": "sentidos diferentes",
    "told_apart": "distinguidos",
    "senses_map": "o vetor de cada frase, em suas duas direções principais",
}
