"""The way back: what people gave becomes the rows that the stages read (the book, section 3.1: stages 2 and 3 learn from people).

    data/rankings/NAME.jsonl        orders: stages `reward` and `dpo`
    data/conversations/NAME.jsonl   ideal answers: stage `sft`

Both files are written whole each time: what somebody took back, or never agreed to, is not in them. Repeats are told apart
from second opinions, and rows that hold somebody's e-mail address, telephone, CPF or card number are held back or masked.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from plutao.assistant.rows import file_of
from plutao.data.conversations import Conversation
from plutao.data.rankings import Ranking, dense
from plutao.files import write_text
from plutao.text.chat import Message, Messages

Handling = Literal["leave_out", "mask"]
SOURCE = "web"
"""Names the files, and the source that the rows carry."""


@dataclass(frozen=True)
class Given:
    """One thing that a person gave: an order of answers, or (`answer`) what should have been answered."""

    id: str
    """Names it among all: "rank-12"."""
    labeller: str
    """Who gave it, without their name: "person-3"."""
    messages: Messages
    completions: tuple[str, ...] = ()
    ranks: tuple[int, ...] = ()
    answer: str = ""
    language: str | None = None
    model: str | None = None
    """Whose answers they are."""
    consent: bool = True

    @property
    def texts(self) -> Iterator[str]:
        """All that somebody could have put personal data into."""
        yield from (message.content for message in self.messages)
        yield from self.completions
        yield self.answer

    @property
    def content(self) -> Any:
        """What makes two of them the same: the order of a sheet's answers says nothing."""
        order = sorted(zip(self.completions, self.ranks, strict=True))
        return json.dumps([self.labeller, [m.as_json() for m in self.messages], order, self.answer])


@dataclass(frozen=True)
class Finding:
    """Personal data in something that was given."""

    id: str
    kind: str
    """e_mail, phone, cpf or card."""
    shown: str
    """Enough of it to recognise, and no more."""


@dataclass
class Feedback:
    """What is there to learn from, and what is left out and why."""

    rankings: list[Given] = field(default_factory=list)
    demonstrations: list[Given] = field(default_factory=list)
    given: int = 0
    without_consent: int = 0
    duplicates: int = 0
    misfits: int = 0
    """Orders of fewer than two different answers, and empty answers."""
    findings: list[Finding] = field(default_factory=list)
    held_back: int = 0
    """Left out for the personal data in them."""

    @property
    def pairs(self) -> int:
        """Preferences between two answers: what the reward model learns from."""
        return sum(len(ranking_of(one).pairs) for one in self.rankings)

    @property
    def people(self) -> int:
        return len({one.labeller for one in [*self.rankings, *self.demonstrations]})

    @property
    def languages(self) -> dict[str, int]:
        counted = Counter(one.language or "" for one in [*self.rankings, *self.demonstrations])
        return dict(counted.most_common())

    def as_json(self) -> dict[str, Any]:
        """The counts, without anybody's words."""
        kinds = Counter(finding.kind for finding in self.findings)
        return {
            "given": self.given,
            "rankings": len(self.rankings),
            "pairs": self.pairs,
            "demonstrations": len(self.demonstrations),
            "people": self.people,
            "languages": self.languages,
            "without_consent": self.without_consent,
            "duplicates": self.duplicates,
            "misfits": self.misfits,
            "held_back": self.held_back,
            "personal": dict(kinds),
        }


def gather(everything: Iterable[Given], handling: Handling = "leave_out") -> Feedback:
    """Sorts what people gave into what can be learned from and what can't.

    Args:
        handling: of personal data: such rows are left out, or the data in them is masked.
    """
    found = Feedback()
    seen: set[str] = set()
    for one in everything:
        found.given += 1
        if not one.consent:
            found.without_consent += 1
        elif not fits(one):
            found.misfits += 1
        elif one.content in seen:
            found.duplicates += 1
        else:
            seen.add(one.content)
            findings = [Finding(one.id, kind, shown(text)) for whole in one.texts for kind, text in personal(whole)]
            found.findings += findings
            if findings and handling == "leave_out":
                found.held_back += 1
                continue
            kept = masked(one) if findings else one
            (found.rankings if one.completions else found.demonstrations).append(kept)
    return found


def fits(one: Given) -> bool:
    """Whether a stage can learn from it: it would refuse the row otherwise."""
    if not one.messages or one.messages[-1].role != "user" or not one.messages[-1].content.strip():
        return False
    if not one.completions:
        return bool(one.answer.strip())
    texts = {text.strip() for text in one.completions}
    return len(one.completions) >= 2 and "" not in texts and len(texts) == len(one.completions) == len(one.ranks)


# ---------------------------------------------------------------------------------------------------------------------
# On disk


def write(found: Feedback, root: Path, name: str = SOURCE) -> dict[str, str]:
    """Writes both files below root/data, each whole; one that would hold nothing is taken away.

    Returns:
        SHA-256 of each file that there is now, by its path below the project.
    """
    files = {
        "rankings": [json.dumps(ranking_row(one), ensure_ascii=False) for one in found.rankings],
        "conversations": [json.dumps(conversation_row(one), ensure_ascii=False) for one in found.demonstrations],
    }
    written = {}
    for folder, lines in files.items():
        path = file_of(root / "data" / folder, name)
        if not lines:
            path.unlink(missing_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(f"{line}\n" for line in lines)
        write_text(path, text)
        written[str(path.relative_to(root))] = hashlib.sha256(text.encode()).hexdigest()
    return written


def forget(root: Path, labeller: str, name: str = SOURCE) -> None:
    """Takes somebody's rows out of both files, as they are now: whoever leaves is not learned from again."""
    for folder in ("rankings", "conversations"):
        path = file_of(root / "data" / folder, name)
        if not path.is_file():
            continue
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if json.loads(line).get("labeller") != labeller]
        if not kept:
            path.unlink()
        elif len(kept) < len(lines):
            write_text(path, "".join(kept))


def ranking_of(one: Given) -> Ranking:
    return Ranking(
        messages=one.messages,
        completions=one.completions,
        ranks=dense(one.ranks),
        id=one.id,
        source=SOURCE,
        language=one.language,
        labeller=one.labeller,
    )


def ranking_row(one: Given) -> dict[str, Any]:
    return ranking_of(one).as_json() | ({"model": one.model} if one.model else {})


def conversation_row(one: Given) -> dict[str, Any]:
    messages = (*one.messages, Message("assistant", one.answer.strip()))
    return Conversation(messages, one.id, SOURCE, one.language).as_json() | {"labeller": one.labeller}


# ---------------------------------------------------------------------------------------------------------------------
# Personal data


def personal(text: str) -> Iterator[tuple[str, str]]:
    """(kind, the text itself) of each e-mail address, CPF, card number and telephone; no stretch is told twice.

    CPF and card numbers must have right check digits (Receita Federal's modulo 11; Luhn's modulo 10, ISO/IEC 7812-1), so
    that an invoice's number is not taken for one.
    """
    taken: list[tuple[int, int]] = []
    for kind, pattern, right in KINDS:
        for match in pattern.finditer(text):
            begin, end = match.span()
            if right(match.group()) and not any(begin < other_end and other < end for other, other_end in taken):
                taken.append((begin, end))
                yield kind, match.group()


def digits(text: str) -> list[int]:
    return [int(sign) for sign in text if sign.isdecimal()]


def right_cpf(text: str) -> bool:
    number = digits(text)
    if len(number) != 11 or len(set(number)) == 1:
        return False
    for place in (9, 10):
        weighed = sum(digit * weight for digit, weight in zip(number[:place], range(place + 1, 1, -1), strict=True))
        if number[place] != weighed * 10 % 11 % 10:
            return False
    return True


def right_card(text: str) -> bool:
    number = digits(text)
    doubled = [digit * 2 - 9 * (digit > 4) for digit in number[-2::-2]]
    return 13 <= len(number) <= 19 and len(set(number)) > 1 and (sum(number[-1::-2]) + sum(doubled)) % 10 == 0


def right_phone(text: str) -> bool:
    """Enough digits to be dialled, written as people write telephones: with +, brackets or a dash; no span of years."""
    if re.fullmatch(r"[12]\d{3}-[12]\d{3}", text):
        return False
    return 8 <= len(digits(text)) <= 15 and any(sign in text for sign in "+(-")


KINDS: tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...] = (
    ("e_mail", re.compile(r"[\w.+%-]{1,64}@(?:[\w-]{1,63}\.){1,8}[a-zA-Z]{2,24}"), lambda text: True),
    ("cpf", re.compile(r"(?<!\d)\d{3}\.?\d{3}\.?\d{3}-?\d{2}(?!\d)"), right_cpf),
    ("card", re.compile(r"(?<!\d)\d(?:[ -]?\d){12,18}(?!\d)"), right_card),
    (
        "phone",
        re.compile(r"(?<![\d.,])(?:\+\d{1,3}[ -]?)?(?:\(\d{2,3}\)[ -]?|\d{2,3}[ -])?\d{3,5}[ -]\d{4}(?![\d.,]\d|\d)"),
        right_phone,
    ),
)


def shown(text: str) -> str:
    """The first two signs and as many dots as there are others, eight at most."""
    return text[:2] + "•" * min(len(text) - 2, 8)


def without_personal(text: str) -> str:
    """The text with personal data replaced by what it was: "[e-mail]"."""
    for kind, found in list(personal(text)):
        text = text.replace(found, f"[{kind.replace('_', '-')}]")
    return text


def masked(one: Given) -> Given:
    messages = tuple(replace(message, content=without_personal(message.content)) for message in one.messages)
    completions = tuple(map(without_personal, one.completions))
    return replace(one, messages=messages, completions=completions, answer=without_personal(one.answer))
