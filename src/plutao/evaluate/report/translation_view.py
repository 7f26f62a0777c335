"""The report's section on translation: how good, by source, and examples."""

from collections.abc import Mapping
from typing import Any

from plutao.evaluate.report.numbers import Numbers
from plutao.evaluate.report.section import Answers, Section, Table
from plutao.evaluate.report.words import words

STAGE = "translation"
WORDS = {
    "en": {
        "title": "How well it translates",
        "note": "BLEU (Papineni et al. 2002) and chrF (Popović 2015) from 0 to 100, of sentences that nothing learned shares, as "
        "sacrebleu computes them ({signature}); in brackets where they lie 95 times in 100 if the sentences are drawn again.",
        "from_to": "A translator of kind {kind}, from {source} to {target}: perplexity {perplexity} a token on {pairs} sentences "
        "kept aside.",
        "columns": ["pairs of", "sentences", "BLEU", "chrF"],
        "all": "all",
        "examples": "Examples",
        "translation": "translation",
        "reference": "a person's",
        "shows": "{run}, stage {stage}",
    },
    "pt": {
        "title": "Como traduz",
        "note": "BLEU (Papineni et al. 2002) e chrF (Popović 2015) de 0 a 100, em frases que nada do que foi aprendido contém, como o "
        "sacrebleu os calcula ({signature}); entre parênteses, onde ficam 95 vezes em 100 se as frases forem sorteadas de novo.",
        "from_to": "Um tradutor do tipo {kind}, de {source} para {target}: perplexidade {perplexity} por token em {pairs} frases "
        "guardadas à parte.",
        "columns": ["pares de", "frases", "BLEU", "chrF"],
        "all": "todos",
        "examples": "Exemplos",
        "translation": "tradução",
        "reference": "de uma pessoa",
        "shows": "{run}, etapa {stage}",
    },
}


def section(facts: Mapping[str, Any], language: str) -> Section | None:
    """The section of a run that has a translator."""
    told = facts["stages"].get(STAGE)
    if not told:
        return None
    say, form = WORDS[language], Numbers(words(language))
    found = told["translation"]
    texts = {name: str(text) for name, text in say.items() if isinstance(text, str)}
    made = Section(
        STAGE,
        texts["title"],
        texts["note"].format(signature=found["bleu"]["signature"]),
        texts["shows"].format(run=facts["run"], stage=STAGE),
    )
    validation = told["validation"]
    amounts = {"perplexity": form.number(validation["perplexity"], 2), "pairs": form.number(validation["pairs"])}
    made.paragraphs = [
        texts["from_to"].format(kind=told["kind"], source=told["source"], target=told["target"], **amounts)
    ]
    lines = {texts["all"]: found, **(found["by_source"] if len(found["by_source"]) > 1 else {})}
    rows = [
        [name, form.number(each["bleu"]["n"]), *(score(each[of], form) for of in ("bleu", "chrf"))]
        for name, each in lines.items()
    ]
    made.tables = [Table("", "", list(say["columns"]), rows)]
    made.answers_title = texts["examples"]
    made.answers = [
        Answers(each["source"], [(texts["translation"], each["translation"]), (texts["reference"], each["reference"])])
        for each in found["examples"]
    ]
    return made


def score(of_one: Mapping[str, float], form: Numbers) -> str:
    return f"{form.number(of_one['value'], 1)} ({form.number(of_one['low'], 1)} – {form.number(of_one['high'], 1)})"
