"""What the views of word vectors say, in English and in Brazilian Portuguese."""

from plutao.look import words

ENGLISH = {
    "word": "word",
    "cosine": "cosine",
    "score": "score",
    "rank": "rank",
    "count": "in the text",
    "group": "group",
    "neighbours": "The words nearest to “{word}”",
    "neighbours_note": "Cosine of the angle between the vectors: 1 the same direction, 0 nothing in common. Words that keep the same "
    "company lie close together (the book, section 2.6).",
    "unseen": "“{word}” has no vector of its own: this one is put together from the parts of the word (Bojanowski et al. 2017).",
    "analogy": "“{a}” is to “{b}” as “{c}” is to …",
    "analogy_add": "{b} − {a} + {c}: the largest sum of cosines (3CosAdd; Mikolov et al. 2013).",
    "analogy_multiply": "{b} × {c} ÷ {a}: the largest product of cosines, which one large term can't decide alone (3CosMul; Levy & "
    "Goldberg 2014).",
    "analogy_note": "The three words asked with are left out of the answers (the book, section 2.6).",
    "map": "A map of {count} words in {dimensions} dimensions",
    "map_note": "Principal components of the vectors at length 1: the directions in which these words differ most, {share} of all their "
    "differences. What is near on the map may lie far apart in the {width} dimensions, but what is far is far (the book, section "
    "2.6, Figure 44).",
    "component": "component {number} ({share})",
    "bias": "How far words lean: “{first}” on the left, “{second}” on the right",
    "bias_note": "Cosine with the direction in which the words of {pairs} pairs differ; it holds {share} of their differences. Direct "
    "bias {before}; with the direction taken out {after} (Bolukbasi et al. 2016, the book's [70]). Difference of the cosines "
    "with the two words of a pair: {gap_before}, afterwards {gap_after}. Only what lies along the direction is gone: "
    "words that leaned alike stay neighbours (Gonen & Goldberg 2019).",
    "leaning": "leaning",
    "afterwards": "afterwards",
    "components": "What differs within the pairs: the share of each direction",
    "components_note": "One direction far above the rest means that the pairs differ in one thing, and there is a direction to speak of "
    "(Bolukbasi et al. 2016, figure 6). Pairs: {pairs}.",
    "direction": "direction",
    "share": "share",
    "frequent": "frequent words",
}

PORTUGUESE = {
    "word": "palavra",
    "cosine": "cosseno",
    "score": "nota",
    "rank": "posição",
    "count": "no texto",
    "group": "grupo",
    "neighbours": "As palavras mais próximas de “{word}”",
    "neighbours_note": "Cosseno do ângulo entre os vetores: 1 é a mesma direção, 0 é nada em comum. Palavras que andam em companhia "
    "parecida ficam próximas (o livro, seção 2.6).",
    "unseen": "“{word}” não tem vetor próprio: este é composto das partes da palavra (Bojanowski et al. 2017).",
    "analogy": "“{a}” está para “{b}” assim como “{c}” está para …",
    "analogy_add": "{b} − {a} + {c}: a maior soma de cossenos (3CosAdd; Mikolov et al. 2013).",
    "analogy_multiply": "{b} × {c} ÷ {a}: o maior produto de cossenos, que um termo grande não decide sozinho (3CosMul; Levy & "
    "Goldberg 2014).",
    "analogy_note": "As três palavras da pergunta não contam como resposta (o livro, seção 2.6).",
    "map": "Um mapa de {count} palavras em {dimensions} dimensões",
    "map_note": "Componentes principais dos vetores de comprimento 1: as direções em que estas palavras mais diferem, {share} de todas as "
    "suas diferenças. O que está perto no mapa pode estar longe nas {width} dimensões, mas o que está longe está longe (o livro, "
    "seção 2.6, Figura 44).",
    "component": "componente {number} ({share})",
    "bias": "Para que lado as palavras pendem: “{first}” à esquerda, “{second}” à direita",
    "bias_note": "Cosseno com a direção em que as palavras de {pairs} pares diferem; ela reúne {share} das suas diferenças. Viés direto "
    "{before}; retirada a direção, {after} (Bolukbasi et al. 2016, o [70] do livro). Diferença dos cossenos com as duas palavras "
    "de um par: {gap_before}; depois, {gap_after}. Só some o que está ao longo da direção: palavras que pendiam juntas "
    "continuam vizinhas (Gonen & Goldberg 2019).",
    "leaning": "pende",
    "afterwards": "depois",
    "components": "O que difere dentro dos pares: a parte de cada direção",
    "components_note": "Uma direção bem acima das outras quer dizer que os pares diferem em uma só coisa, e que há uma direção de que "
    "falar (Bolukbasi et al. 2016, figura 6). Pares: {pairs}.",
    "direction": "direção",
    "share": "parte",
    "frequent": "palavras frequentes",
}


def phrases(language: str) -> dict[str, str]:
    """The dictionary of a language.

    Raises:
        UserError: a language the views do not speak.
    """
    words.phrases(language)
    return {"en": ENGLISH, "pt": PORTUGUESE}[language]
