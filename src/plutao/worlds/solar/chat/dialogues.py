"""Dialogues to learn from: what people ask, in all its forms, and answers in the styles that demonstrators have."""

from collections.abc import Callable, Iterator, Mapping

from plutao.text.chat import Message, Messages, ToolCall
from plutao.worlds.contract import Dialogue
from plutao.worlds.solar.chat import facts, limits, sentences, sums
from plutao.worlds.solar.chat.talker import Exchange, Talker, reserved
from plutao.worlds.solar.language import LANGUAGES, capitalised

# How often each kind is a dialogue of its own, or the first turns of one.
KINDS: Mapping[str, tuple[Callable[[Talker], Exchange], float]] = {
    "fact": (facts.any_fact, 48),
    "other-language": (facts.other_language, 4),
    "comparison": (facts.comparison, 9),
    "arithmetic": (sums.sum_exchange, 18),
    "translation": (sentences.translation, 5),
    "sentiment": (sentences.sentiment, 2.5),
    "grammar": (sentences.grammar, 3.5),
    "keywords": (sentences.keywords, 1.5),
    "unknown": (limits.unknown, 13),
    "refusal": (limits.refusal, 3),
    "kindness": (limits.kindness, 2),
    "better": (limits.better, 0.7),
    "manners": (limits.manners, 2),
}
# How people write demonstrations: mostly well; some in a word, some with a needless preamble, some coldly. All are true.
STYLES = {"good": 0.62, "terse": 0.14, "wordy": 0.14, "cold": 0.1}
WITH_FOLLOW_UPS = 0.35  # of the dialogues that begin with a fact
WITH_SYSTEM = 0.08


def dialogues(count: int, seed: int) -> Iterator[Dialogue]:
    """`count` dialogues, Portuguese and English in turn; the same seed gives the same ones. Nothing kept for the exam or for
    validation is in any of them."""
    talkers = {language: Talker(language, f"solar-dialogues/{seed}/{language}") for language in LANGUAGES}
    for number in range(count):
        language = LANGUAGES[number % 2]
        talker = talkers[language]
        kind, exchanges = conversation(talker)
        style = talker.random.choices(list(STYLES), list(STYLES.values()))[0]
        messages = system(talker, exchanges, style)
        for exchange in exchanges:
            messages += turn(talker, exchange, style)
        yield Dialogue(tuple(messages), f"solar-dialogue-{seed}-{number}", exchanges[-1].language, kind)


def conversation(talker: Talker) -> tuple[str, list[Exchange]]:
    """The kind and the exchanges of one dialogue: most have one, some go on."""
    kind = any_kind(talker)
    if kind == "fact" and talker.chance(WITH_FOLLOW_UPS):
        return "follow-up", talk(talker)
    return kind, [fresh(talker, kind)]


def any_kind(talker: Talker) -> str:
    return talker.random.choices(list(KINDS), [weight for _, weight in KINDS.values()])[0]


def fresh(talker: Talker, kind: str) -> Exchange:
    """An exchange of the kind that is not kept for validation."""
    while True:
        exchange = KINDS[kind][0](talker)
        if kind == "manners" or not reserved(exchange.ask):
            return exchange


def talk(talker: Talker) -> list[Exchange]:
    """Two to four turns: a fact, and what it makes people ask next; at times another matter, or thanks."""
    while True:
        relation, fact = talker.next("topics", facts.topics())
        if not reserved((first := facts.fact_exchange(talker, relation, fact)).ask):
            break
    exchanges = [first]
    wanted = talker.pick((2, 2, 3, 3, 4))
    while len(exchanges) < wanted:
        following = facts.follow_ups(talker, relation, fact) if len(exchanges) == 1 else []
        if following and talker.chance(0.85):
            exchanges.append(talker.pick(following))
        elif talker.chance(0.12):
            return [*exchanges, limits.manners(talker, talker.pick(("thanks", "bye")))]
        else:
            exchange = fresh(talker, any_kind(talker))
            exchanges.append(fresh(talker, "fact") if exchange.system else exchange)
    return exchanges


def system(talker: Talker, exchanges: list[Exchange], style: str) -> list[Message]:
    """What the dialogue is told beforehand, where it is."""
    if exchanges[0].system:
        return [Message("system", exchanges[0].system)]
    if not talker.chance(WITH_SYSTEM):
        return []
    keys = ["persona", "persona"]
    if all(exchange.language == talker.language for exchange in exchanges):
        keys.append("language")
    if style != "wordy":
        keys.append("brief")
    return [Message("system", talker.say("system", talker.pick(keys), {}))]


def turn(talker: Talker, exchange: Exchange, style: str) -> list[Message]:
    """The question, the calculator's part where it has one, and the answer in the style."""
    messages = [Message("user", exchange.ask)]
    if exchange.call is not None:
        expression, result = exchange.call
        messages += [
            Message("assistant", "", (ToolCall("calculator", {"expression": expression}),)),
            Message("tool", result),
        ]
    return [*messages, Message("assistant", styled(talker, exchange, style))]


def styled(talker: Talker, exchange: Exchange, style: str) -> str:
    """The answer as this demonstrator writes it."""
    if style == "good" or exchange.task == "manners":
        return exchange.good
    if style == "terse":
        return exchange.terse
    if style == "cold" and exchange.rude:
        return exchange.rude
    speaker = talker if exchange.language == talker.language else Talker(exchange.language, str(talker.draw()))
    return capitalised(speaker.say("style", style, {"a": exchange.good}))


def earlier(exchanges: list[Exchange]) -> Messages:
    """Turns that are over, each with its good answer."""
    messages: list[Message] = []
    for exchange in exchanges:
        messages.append(Message("user", exchange.ask))
        if exchange.call is not None:
            expression, result = exchange.call
            messages += [
                Message("assistant", "", (ToolCall("calculator", {"expression": expression}),)),
                Message("tool", result),
            ]
        messages.append(Message("assistant", exchange.good))
    return tuple(messages)
