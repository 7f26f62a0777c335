"""Sentences of the world in both languages."""

from plutao.worlds import world


def test_sentences_come_in_both_languages_and_say_the_same() -> None:
    some = list(world("solar").translations(3000, seed=1))
    assert len(some) == 3000 and all(set(each) == {"pt", "en"} for each in some)
    assert all(
        text.endswith(".") and text[0] == text[0].upper() and "{" not in text for each in some for text in each.values()
    )
    numbers = [
        [[part for part in text.rstrip(".").split() if part.isdigit()] for text in each.values()] for each in some
    ]
    same = sum(sorted(pt) == sorted(en) for pt, en in numbers) / len(numbers)
    assert same > 0.9  # dates and sizes are those of one and the same fact
    assert len({each["en"] for each in some}) > 2000
    assert some == list(world("solar").translations(3000, seed=1)) != list(world("solar").translations(3000, seed=2))
