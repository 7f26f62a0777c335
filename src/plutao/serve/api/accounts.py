"""Everything about people, keys, money and usage, and the page behind a one-time link, in one router."""

from fastapi import APIRouter

from plutao.serve.api import keys, money, own, people, set_up, sign_in, usage
from plutao.serve.api.asking import REFUSALS

router = APIRouter(responses={status: REFUSALS[status] for status in (400, 401, 403, 404, 429)})
for part in (set_up, sign_in, own, people, keys, money, usage):
    router.include_router(part.router)
