"""Answers are kept by consent alone, and what is kept is enough to write them again."""

import httpx
import openai
import pytest
from api_service import Service
from commands import done, refused
from openai import OpenAI


@pytest.fixture(scope="module")
def client(engine_service: Service) -> OpenAI:
    return engine_service.client()


def ask(client: OpenAI, **options: object):  # type: ignore[no-untyped-def]
    messages = [{"role": "user", "content": "Which planet is red? \x00"}]
    return client.chat.completions.create(model="current", messages=messages, max_tokens=20, **options)  # type: ignore[call-overload]


def test_a_stored_answer_is_told_again_and_forgotten(client: OpenAI, engine_service: Service) -> None:
    kept = ask(client, store=True, n=2)
    again = client.chat.completions.retrieve(kept.id)
    assert again.choices[1].message.content == kept.choices[1].message.content
    stranger = engine_service.client().with_options(api_key=engine_service.new_key("stranger@example.org", "member"))
    with pytest.raises(openai.NotFoundError):
        stranger.chat.completions.retrieve(kept.id)
    assert client.chat.completions.delete(kept.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.retrieve(kept.id)


def test_consent_is_the_requests_or_the_keys_and_a_request_can_say_no(client: OpenAI, engine_service: Service) -> None:
    consenting = client.with_options(api_key=engine_service.new_key(consent=True))
    for asker, store, kept in (
        (client, None, False),
        (client, True, True),
        (consenting, None, True),
        (consenting, False, False),
    ):
        answer = ask(asker, **({} if store is None else {"store": store}))
        assert (answer.model_extra["plutao"]["answer"] is not None) == kept
        status = httpx.get(
            f"{engine_service.url}/v1/chat/completions/{answer.id}",
            headers={"Authorization": f"Bearer {asker.api_key}"},
        ).status_code
        assert status == (200 if kept else 404)


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 1.3, "seed": 7, "top_p": 0.9},
        {"temperature": 1.5, "presence_penalty": 1.0, "logit_bias": {"40": 3}, "n": 3},
        {"temperature": 2, "stop": ["a"], "response_format": {"type": "json_object"}},
    ],
)
def test_a_stored_answer_is_written_again_token_for_token(
    client: OpenAI, engine_service: Service, options: dict[str, object]
) -> None:
    kept = ask(client, store=True, **options)
    root = engine_service.serving.settings.root
    last = len(kept.choices) - 1
    answer = done("replay", f"{kept.id}-{last}", root)
    assert "token for token" in answer.err
    if "stop" not in options:
        assert answer.out.rstrip("\n") == (kept.choices[last].message.content or "").rstrip("\n")


def test_the_calculators_part_is_written_again_too(client: OpenAI, engine_service: Service) -> None:
    kept = client.chat.completions.create(
        model="current", messages=[{"role": "user", "content": "Quanto é 12+30?"}], temperature=0, store=True
    )
    assert kept.choices[0].message.content == "12+30 dá 42."
    assert "token for token" in done("replay", kept.id, engine_service.serving.settings.root).err


def test_what_is_not_kept_can_not_be_written_again(engine_service: Service) -> None:
    assert "No answer is kept" in refused("replay", "chatcmpl-none", engine_service.serving.settings.root)
