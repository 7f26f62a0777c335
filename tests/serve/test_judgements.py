"""Ranking and the arena, below the pages: what comes next, what is kept, how far people agree, who leads; on both databases."""

import random

import pytest

from plutao.assistant.feedback import gather
from plutao.errors import UserError
from plutao.evaluate.winrate import Game
from plutao.serve import accounts, arena, judgements
from plutao.serve.audit import By
from plutao.serve.database import Database
from plutao.serve.judgements import Drawn, said
from plutao.serve.tables.accounts import Account
from plutao.serve.tables.judgements import Battle, Sheet

ANSWERS = ("Marte.", "Vênus.", "Não sei.")


def person(database: Database, name: str = "ana") -> int:
    with database.writing() as db:
        return accounts.create(db, f"{name}@example.org", name, "labeller", "four words nobody joins").id


def draw(database: Database, number: int, rewards: tuple[float, ...] | None = None, account: int | None = None) -> int:
    prompt = said(f"Que planeta é vermelho? {number}")
    with database.writing() as db:
        return judgements.keep(db, Drawn(prompt, "pt", "solar-1/rl", "f1", ANSWERS, 1.0, 7, rewards, account)).id


def shown(database: Database, account: int) -> judgements.Shown | None:
    with database.reading() as db:
        return judgements.next_sheet(db, account, "f1")


def rank(database: Database, account: int, sheet: int, *ranks: int, correction: str = "") -> None:
    with database.writing() as db:
        judgements.rank(db, account, sheet, dict(enumerate(ranks)), correction)


def test_orders_and_corrections_become_the_stages_rows(database: Database) -> None:
    ana, sheet = person(database), draw(database, 1)
    rank(database, ana, sheet, 1, 3, 3, correction="Marte é vermelho.")
    with database.reading() as db:
        found = gather(judgements.given(db))
    [ranking], [written] = found.rankings, found.demonstrations
    assert ranking.completions == ANSWERS and ranking.ranks == (1, 2, 2)  # ranks without gaps
    assert ranking.labeller == f"person-{ana}" and ranking.model == "solar-1/rl" and ranking.language == "pt"
    assert written.answer == "Marte é vermelho." and written.messages == ranking.messages


def test_answers_come_in_an_order_of_each_persons_own(database: Database) -> None:
    people = [person(database, name) for name in ("ana", "rui", "eva", "ivo", "lia", "gil")]
    draw(database, 1)
    orders = set()
    for one in people:
        first, second = shown(database, one), shown(database, one)
        assert first is not None and second is not None and first.order == second.order
        assert sorted(first.answers) == sorted(ANSWERS)
        orders.add(first.order)
    assert len(orders) > 1


def test_what_the_reward_model_and_people_disagree_on_comes_first(database: Database) -> None:
    ana, rui = person(database), person(database, "rui")
    agreed, unsure, against = (
        draw(database, 1, (4, 0, -4)),
        draw(database, 2, (0.1, 0, 0)),
        draw(database, 3, (4, 0, -4)),
    )
    assert shown(database, ana).sheet.id == unsure  # type: ignore[union-attr]
    rank(database, ana, agreed, 1, 2, 3)
    rank(database, ana, against, 3, 2, 1)
    queue = []
    while (one := shown(database, rui)) is not None:
        queue.append(one.sheet.id)
        rank(database, rui, one.sheet.id, 1, 2, 3)
    assert queue == [against, unsure, agreed]


def test_an_earlier_sheet_comes_again_unannounced_and_tells_how_steady_somebody_is(database: Database) -> None:
    ana = person(database)
    for number in range(12):
        draw(database, number)
    again = []
    for _ in range(10):
        one = shown(database, ana)
        assert one is not None
        again += [one.sheet.id] if one.again else []
        rank(database, ana, one.sheet.id, *((3, 2, 1) if one.again else (1, 2, 3)))
    assert len(again) == 1
    with database.reading() as db:
        own = judgements.with_themselves(db, ana)
        assert own.tau == -1 and own.prompts == 1
        assert judgements.progress(db, ana).ranked == 9
        assert len(gather(judgements.given(db)).rankings) == 9  # the second order teaches nothing


def test_agreement_between_people_is_told(database: Database) -> None:
    ana, rui = person(database), person(database, "rui")
    for number in range(3):
        sheet = draw(database, number)
        rank(database, ana, sheet, 1, 2, 3)
        rank(database, rui, sheet, 1, 3, 2)
    with database.reading() as db:
        [one] = judgements.between_people(db)
    assert one.prompts == 3 and one.tau == pytest.approx(1 / 3)
    assert set(one.labellers) == {f"person-{ana}", f"person-{rui}"}


def test_a_flag_takes_a_sheet_out_for_all_and_a_skip_only_for_oneself(database: Database) -> None:
    ana, rui = person(database), person(database, "rui")
    flagged, skipped = draw(database, 1), draw(database, 2)
    for sheet in (flagged, skipped):
        rank(database, rui, sheet, 1, 2, 3)
    with database.writing() as db:
        judgements.set_aside(db, ana, flagged, "flag", "personal")
        judgements.set_aside(db, ana, skipped, "skip")
        judgements.set_aside(db, ana, skipped, "skip")  # twice is once
    assert shown(database, ana) is None
    with database.reading() as db:
        assert len(gather(judgements.given(db)).rankings) == 1


@pytest.mark.parametrize("ranks", [(1, 2), (1, 2, 4), (0, 1, 2), (1, 2, 3, 4)])
def test_an_order_that_leaves_an_answer_out_is_refused(database: Database, ranks: tuple[int, ...]) -> None:
    ana, sheet = person(database), draw(database, 1)
    with pytest.raises(UserError, match="rank from 1 to 3"):
        rank(database, ana, sheet, *ranks)


def test_what_was_given_last_can_be_taken_back(database: Database) -> None:
    ana, sheet = person(database), draw(database, 1)
    rank(database, ana, sheet, 1, 2, 3, correction="Marte, o planeta vermelho.")
    with database.writing() as db:
        assert judgements.take_back(db, ana) == sheet
        assert judgements.take_back(db, ana) is None
    assert shown(database, ana).sheet.id == sheet  # type: ignore[union-attr]
    with database.reading() as db:
        assert gather(judgements.given(db)).given == 0


def test_forgetting_somebody_takes_their_judgements_and_their_prompts_away(database: Database) -> None:
    ana, rui = person(database), person(database, "rui")
    own, other = draw(database, 1, account=ana), draw(database, 2)
    for sheet in (own, other):
        rank(database, rui, sheet, 1, 2, 3)
        rank(database, ana, sheet, 1, 2, 3, correction="Marte.")
    with database.writing() as db:
        judgements.demonstrate(db, ana, said("Oi"), "Olá.")
        accounts.forget(db, db.get_one(Account, ana), By())
    with database.reading() as db:
        assert db.get(Sheet, own) is None
        assert [one.labeller for one in judgements.given(db)] == [f"person-{rui}"]


# ---------------------------------------------------------------------------------------------------------------------
# The arena


def battle(
    database: Database, account: int, number: int, left: str, right: str, vote: str, language: str = "pt"
) -> None:
    with database.writing() as db:
        begun = arena.begin(db, account, said(f"Oi {number}"), language, (left, "a"), (right, "b"))
        arena.vote(db, begun, vote)


def test_a_vote_counts_once_and_for_the_side_that_was_named(database: Database) -> None:
    ana = person(database)
    with database.writing() as db:
        begun = arena.begin(db, ana, said("Oi"), "pt", ("old", "a"), ("new", "b"))
        with pytest.raises(UserError, match="left, right, tie or bad"):
            arena.vote(db, begun, "both")
        arena.vote(db, begun, "right")
        with pytest.raises(UserError, match="You have voted"):
            arena.vote(db, begun, "left")
    with database.reading() as db:
        assert next(iter(arena.standings(db).ratings)) == "new"


def test_the_better_model_leads_per_language_too_and_both_bad_is_counted(database: Database) -> None:
    ana = person(database)
    for number in range(12):
        left, right = ("new", "old") if number % 2 else ("old", "new")
        battle(database, ana, number, left, right, "left" if left == "new" else "right")
        battle(database, ana, number, left, right, "right" if left == "new" else "left", "en")
    battle(database, ana, 99, "old", "new", "bad")
    with database.reading() as db:
        portuguese, english, all_of_them = (arena.standings(db, language) for language in ("pt", "en", None))
    assert next(iter(portuguese.ratings)) == "new" and next(iter(english.ratings)) == "old"
    assert portuguese.differences[0].sure and portuguese.differences[0].more == 0
    assert all_of_them.votes == 25 and all_of_them.both_bad == 1
    assert not all_of_them.differences[0].sure


def test_about_so_many_more_votes_is_about_right() -> None:
    """A model that wins two games of three is surely better after about as many votes as were foretold."""
    chance, told, reached = random.Random(3), [], []
    for _ in range(12):
        games: list[Game] = []
        while len(games) < 400:
            games += [Game(str(len(games)), "new", "old", float(chance.random() < 2 / 3))]
            if len(games) in (20, 30) or len(games) % 10 == 0:
                order = ["new", "old"] if sum(game.score for game in games) * 2 > len(games) else ["old", "new"]
                [one] = arena.differences(games, order)
                if len(games) == 30 and one.more is not None and one.better == "new":
                    told.append(30 + one.more)
                if one.sure and one.better == "new" and len(games) >= 30:
                    reached.append(len(games))
                    break
    middle = sorted(told)[len(told) // 2]
    assert 30 <= middle <= 120 and sum(reached) / len(reached) < 120


def test_few_votes_that_all_agree_are_not_taken_for_certainty() -> None:
    games = [Game(str(number), "new", "old", 1.0) for number in range(3)]
    [one] = arena.differences(games, ["new", "old"])
    assert not one.sure and one.more is not None and one.more > 0


def test_models_as_good_as_equal_get_no_number() -> None:
    games = [Game(str(number), "a", "b", number % 2) for number in range(20)]
    [one] = arena.differences(games, ["a", "b"])
    assert one.more is None


def test_those_meet_who_met_least_often_and_sides_are_drawn() -> None:
    chance = random.Random(1)
    votes = {frozenset(("a", "b")): 5, frozenset(("a", "c")): 5}
    drawn = {arena.choose_pair(["a", "b", "c"], votes, chance) for _ in range(20)}
    assert drawn == {("b", "c"), ("c", "b")}
    with pytest.raises(UserError, match="two models"):
        arena.choose_pair(["a"], {}, chance)


def test_a_battle_is_found_by_its_owner_alone(database: Database) -> None:
    ana = person(database)
    battle(database, ana, 1, "a", "b", "tie")
    with database.reading() as db:
        [row] = db.query(Battle).all()
    assert row.account == ana
