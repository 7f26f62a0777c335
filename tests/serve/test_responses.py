"""The Responses API, by OpenAI's own client, strict about every field."""

import json

import openai
import pytest
from api_service import Service
from openai import OpenAI

QUESTION = "Qual é o maior planeta?"
ANSWER = "O maior planeta é Júpiter."


@pytest.fixture(scope="module")
def service(engine_service: Service) -> Service:
    return engine_service


@pytest.fixture(scope="module")
def client(service: Service) -> OpenAI:
    return service.client()


def test_a_question_is_answered(client: OpenAI) -> None:
    response = client.responses.create(model="current", input=QUESTION, temperature=0)
    assert response.output_text == ANSWER and response.status == "completed" and response.error is None
    assert response.usage is not None
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens
    counted = client.responses.input_tokens.count(model="current", input=QUESTION)
    assert counted.input_tokens == response.usage.input_tokens


def test_events_come_in_order_and_join_to_the_answer(client: OpenAI) -> None:
    events = list(client.responses.create(model="current", input=QUESTION, temperature=0, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events if event.type != "response.output_text.delta"]
    assert kinds == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == ANSWER and len(deltas) > 1
    assert events[-1].response.output_text == ANSWER  # type: ignore[union-attr]


def test_an_answer_that_is_cut_is_incomplete(client: OpenAI) -> None:
    response = client.responses.create(model="current", input=QUESTION, temperature=0, max_output_tokens=3)
    assert response.status == "incomplete" and response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"
    last = list(
        client.responses.create(model="current", input=QUESTION, max_output_tokens=3, temperature=0, stream=True)
    )[-1]
    assert last.type == "response.incomplete"


def test_log_probabilities_come_where_asked(client: OpenAI) -> None:
    response = client.responses.create(
        model="current", input=QUESTION, temperature=0, include=["message.output_text.logprobs"], top_logprobs=2
    )
    [part] = response.output[0].content  # type: ignore[union-attr]
    assert bytes(byte for token in part.logprobs for byte in token.bytes).decode() == ANSWER  # type: ignore[union-attr]


def test_a_call_and_its_result_are_items(client: OpenAI) -> None:
    form = {"type": "object", "properties": {"expression": {"enum": ["12+30", "1+1"]}}, "required": ["expression"]}
    tools = [{"type": "function", "name": "calculator", "parameters": form, "strict": True}]
    options = {"model": "current", "temperature": 0, "tools": tools, "max_output_tokens": 100}
    question = {"role": "user", "content": "Quanto é 12+30?"}
    response = client.responses.create(input=[question], tool_choice="required", **options)  # type: ignore[call-overload]
    [call] = response.output
    assert (call.type, call.name, list(json.loads(call.arguments))) == ("function_call", "calculator", ["expression"])
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "42"}
    answer = client.responses.create(input=[question, call.model_dump(exclude_none=True), result], **options)  # type: ignore[call-overload]
    assert answer.usage.input_tokens > response.usage.input_tokens + 10
    named = {"type": "function", "name": "calculator"}
    events = list(client.responses.create(input=[question], stream=True, tool_choice=named, **options))  # type: ignore[call-overload]
    assert "response.function_call_arguments.done" in [event.type for event in events]
    assert events[-1].response.output[0].type == "function_call"


def test_what_is_stored_is_told_followed_and_forgotten(client: OpenAI, service: Service) -> None:
    first = client.responses.create(model="current", input="Oi", temperature=0, store=True)
    assert client.responses.retrieve(first.id).output_text == first.output_text
    second = client.responses.create(
        model="current", input=QUESTION, temperature=0, previous_response_id=first.id, store=True
    )
    assert second.usage is not None and first.usage is not None
    assert second.usage.input_tokens > first.usage.total_tokens, "the earlier turns were read"
    items = client.responses.input_items.list(second.id)
    assert [item.type for item in items] == ["message"] * 3
    stranger = service.client().with_options(api_key=service.new_key("member@example.org", "member"))
    with pytest.raises(openai.NotFoundError):
        stranger.responses.retrieve(first.id)
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)


def test_nothing_is_stored_unless_it_was_asked(client: OpenAI) -> None:
    response = client.responses.create(model="current", input="Oi", temperature=0)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(response.id)
    with pytest.raises(openai.NotFoundError) as refusal:
        client.responses.create(model="current", input="Oi", previous_response_id=response.id)
    assert refusal.value.code == "previous_response_not_found"


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"background": True}, "background"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
        ({"input": [{"type": "function_call_output", "call_id": "x", "output": "1"}]}, "input[0].call_id"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
    ],
)
def test_what_can_not_be_answered_is_refused_by_its_name(
    client: OpenAI, options: dict[str, object], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refusal:
        client.post("/responses", body={"model": "current", "input": "Oi", **options}, cast_to=object)
    assert refusal.value.param == param
