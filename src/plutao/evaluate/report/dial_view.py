"""The report's section on the size that `--time` chose: from which table, why, and what came of it."""

from collections.abc import Mapping
from typing import Any

from plutao.evaluate.report.numbers import Numbers
from plutao.evaluate.report.section import Section, Table
from plutao.evaluate.report.words import words

WORDS = {
    "en": {
        "title": "Why this size",
        "note": "Asked for the best model in a given time, the dial tries how fast this machine trains, and takes the size whose "
        "loss a scaling law foretells to be the lowest; of losses within 2% the largest size.",
        "chosen": "{preset}, with {batch} rows a step, for {time}.",
        "foretold": "Foretold: {loss} bits per byte. Reached, on other text of this kind: {reached}.",
        "columns": "size|parameters|tokens/s|tokens in this time|rows a step|bits per byte, foretold",
        "guessed": "≈{speed}",
        "shows": "{run}, stage base",
    },
    "pt": {
        "title": "Por que este tamanho",
        "note": "Quando se pede o melhor modelo num tempo dado, o seletor experimenta a velocidade de treino desta máquina e toma o "
        "tamanho cuja perda uma lei de escala prevê como a menor; entre perdas a menos de 2% uma da outra, o maior tamanho.",
        "chosen": "{preset}, com {batch} linhas por passo, em {time}.",
        "foretold": "Previsto: {loss} bits por byte. Alcançado, em outro texto do mesmo tipo: {reached}.",
        "columns": "tamanho|parâmetros|tokens/s|tokens neste tempo|linhas por passo|bits por byte, previstos",
        "guessed": "≈{speed}",
        "shows": "{run}, etapa base",
    },
}


def section(facts: Mapping[str, Any], language: str) -> Section | None:
    """The section of a run whose size the dial chose."""
    dial = facts.get("dial")
    if not dial:
        return None
    say, form = WORDS[language], Numbers(words(language))
    made = Section("dial", say["title"], say["note"], say["shows"].format(run=facts["run"]), stage="base")
    time = form.time(60 * dial["minutes"])
    made.paragraphs = [say["chosen"].format(preset=dial["preset"], batch=form.number(dial["batch"]), time=time)]
    chosen: Mapping[str, Any] = next((row for row in dial["table"] if row["preset"] == dial["preset"]), {})
    reached = (facts["stages"].get("base") or {}).get("validation", {}).get("bits_per_byte")
    if chosen.get("loss") is not None and reached is not None:
        losses = {"loss": form.number(chosen["loss"], 3), "reached": form.number(reached, 3)}
        made.paragraphs.append(say["foretold"].format(**losses))
    rows = [
        [
            ("▶ " if row["preset"] == dial["preset"] else "") + row["preset"],
            form.number(row["parameters"]),
            ("{speed}" if row["measured"] else say["guessed"]).format(speed=form.number(row["tokens_per_second"])),
            form.number(row["tokens"]),
            form.number(row["batch"]),
            "–" if row["loss"] is None else form.number(row["loss"], 3),
        ]
        for row in dial["table"]
    ]
    made.tables = [Table("", "", say["columns"].split("|"), rows)]
    return made
