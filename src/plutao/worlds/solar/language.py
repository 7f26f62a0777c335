"""Portuguese and English grammar: names with their articles and contractions, numbers, units, lists, sentences.

A name is written once with its article ("a Terra", "os Estados Unidos", "Marte", "the Sun"); its forms follow from it:
de + a Terra = da Terra, em + o Brasil = no Brasil, a + a Terra = à Terra, the Sun → the Sun's.
"""

LANGUAGES = ("pt", "en")
ARTICLES = ("o", "a", "os", "as")

# de, em, a, por before each article; "" is a name without one (Marte, Portugal).
CONTRACTIONS = {
    "": ("de ", "em ", "a ", "por "),
    "o": ("do ", "no ", "ao ", "pelo "),
    "a": ("da ", "na ", "à ", "pela "),
    "os": ("dos ", "nos ", "aos ", "pelos "),
    "as": ("das ", "nas ", "às ", "pelas "),
}

UNITS = {
    "pt": {
        "hour": ("hora", "horas"),
        "day": ("dia", "dias"),
        "year": ("ano", "anos"),
        "km": ("quilômetro", "quilômetros"),
    },
    "en": {
        "hour": ("hour", "hours"),
        "day": ("day", "days"),
        "year": ("year", "years"),
        "km": ("kilometre", "kilometres"),
    },
}
ORDINALS = {
    "pt": ("primeiro", "segundo", "terceiro", "quarto", "quinto", "sexto", "sétimo", "oitavo", "nono", "décimo"),
    "en": ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"),
}
SMALL_NUMBERS = {
    "pt": (
        *("zero", "um", "dois", "três", "quatro", "cinco", "seis", "sete", "oito", "nove", "dez"),
        *("onze", "doze", "treze", "quatorze", "quinze", "dezesseis", "dezessete", "dezoito", "dezenove"),
    ),
    "en": (
        *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
        *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
    ),
}
TENS = {
    "pt": ("", "", "vinte", "trinta", "quarenta", "cinquenta", "sessenta", "setenta", "oitenta", "noventa"),
    "en": ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"),
}


def split_article(name: str, language: str) -> tuple[str, str]:
    """("a", "Terra") of "a Terra"; ("", "Marte") of "Marte"; ("the", "Sun") of "the Sun"."""
    first, space, rest = name.partition(" ")
    is_article = first in ARTICLES if language == "pt" else first == "the"
    return (first, rest) if space and is_article else ("", name)


def name_forms(name: str, language: str, slot: str = "x", gender: str = "m") -> dict[str, str]:
    """Every form in which a phrase may need a name, by slot.

    Portuguese: {x} a Terra, {x0} Terra, {dex} da Terra, {emx} na Terra, {ax} à Terra, {porx} pela Terra, {umx} uma Terra, and
    what agrees with it: {ox} ela-like endings o/a, {elex}, {ficax}, {temx}, {éx}, {estáx}. English: {x}, {x0}, {xs} Earth's, {ax}.
    `gender` is that of names without an article.
    """
    article, bare = split_article(name, language)
    if language == "en":
        possessive = f"{name}'" if name.endswith("States") else f"{name}'s"
        return {slot: name, f"{slot}0": bare, f"{slot}s": possessive, f"a{slot}": with_a(bare)}
    of, inside, to, by = CONTRACTIONS[article]
    feminine, plural = (article or gender) in ("a", "as", "f"), article in ("os", "as")
    return {
        slot: name,
        f"{slot}0": bare,
        f"de{slot}": of + bare,
        f"em{slot}": inside + bare,
        f"a{slot}": to + bare,
        f"por{slot}": by + bare,
        f"um{slot}": ("uma " if feminine else "um ") + bare,
        f"o{slot}": "a" if feminine else "o",
        f"ele{slot}": "ela" if feminine else "ele",
        f"fica{slot}": "ficam" if plural else "fica",
        f"tem{slot}": "têm" if plural else "tem",
        f"é{slot}": "são" if plural else "é",
    }


def with_a(noun: str) -> str:
    """a planet, an asteroid."""
    return f"{'an' if noun[0].lower() in 'aeio' or noun.startswith('un') else 'a'} {noun}"


def number(value: float, language: str) -> str:
    """139820 as 139.820 in Portuguese and 139,820 in English; 6.4 as 6,4 and 6.4; small whole numbers stay digits."""
    text = f"{value:,}"
    return text if language == "en" else text.translate(str.maketrans(",.", ".,"))


def quantity(value: float, unit: str, language: str) -> str:
    """88 days, 1 year, 6,4 dias. Portuguese takes the singular below two."""
    singular, plural = UNITS[language][unit]
    is_one = value < 2 if language == "pt" else value == 1
    return f"{number(value, language)} {singular if is_one else plural}"


def number_in_words(value: int, language: str) -> str:
    """0 to 199: forty-two, quarenta e dois."""
    if value < 20:
        return SMALL_NUMBERS[language][value]
    if value < 100:
        tens, unit = divmod(value, 10)
        joint = " e " if language == "pt" else "-"
        return TENS[language][tens] + (joint + SMALL_NUMBERS[language][unit] if unit else "")
    rest = value - 100
    if language == "pt":
        return f"cento e {number_in_words(rest, language)}" if rest else "cem"
    return f"one hundred and {number_in_words(rest, language)}" if rest else "one hundred"


def capitalised(text: str) -> str:
    """The first letter large, the rest as it is."""
    return text[:1].upper() + text[1:]
