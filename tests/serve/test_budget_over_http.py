"""A budget seen from outside: many programs at once spend it to its end, and not a micro-unit further."""

from concurrent.futures import ThreadPoolExecutor

import openai
from api_service import Service
from sqlalchemy import func, select

from plutao.serve import accounts, budgets, keys
from plutao.serve.audit import By
from plutao.serve.prices import Tariff, set_price
from plutao.serve.tables.metering import Usage


def test_fifty_programs_at_once_on_a_budget_for_a_few(service: Service) -> None:
    amount = 60_000
    with service.serving.app.state.database.writing() as db:
        account = accounts.create(db, "poor@example.org", "", "member")
        _, key = keys.create(db, account, "poor")
        set_price(db, "tiny/sft", Tariff(prompt=100_000, completion=1_000_000), By())
        budgets.set_budget(db, amount, "once", By(), account=account.id)
    client = openai.OpenAI(base_url=f"{service.url}/v1", api_key=key, timeout=120)  # with its own two tries more

    def ask(_: int) -> str:
        try:
            client.completions.create(model="current", prompt="Marte", max_tokens=8)
        except openai.RateLimitError as error:
            return str(error.code)
        return "answered"

    with ThreadPoolExecutor(50) as programs:
        outcomes = list(programs.map(ask, range(50)))
    assert set(outcomes) == {"answered", "insufficient_quota"}
    with service.serving.app.state.database.writing() as db:
        budget = budgets.find(db, account=account.id)
        assert budget is not None
        paid = db.scalar(select(func.sum(Usage.cost)).where(Usage.account == account.id))
        count = db.scalar(select(func.count()).where(Usage.account == account.id))
        set_price(db, "tiny/sft", Tariff(), By())  # the other tests' answers are free
    assert budget.reserved == 0
    assert 0 < budget.spent == paid <= amount
    assert count == outcomes.count("answered")
