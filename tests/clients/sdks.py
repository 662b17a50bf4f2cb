"""Lists, retrieves, calls and streams with one SDK (the first argument) through `BASE_URL`. Runs in the environment of
`requirements.lock`, and prints what the SDK returned as JSON."""

# mypy: ignore-errors

from __future__ import annotations

import json
import os
import sys

URL, KEY, MODEL = os.environ["BASE_URL"], os.environ["KEY"], os.environ["MODEL"]
MESSAGES = [{"role": "user", "content": "Hi"}]


def openai() -> dict[str, object]:
    from openai import OpenAI

    client = OpenAI(base_url=f"{URL}/v1", api_key=KEY)
    answer = client.chat.completions.create(model=MODEL, messages=MESSAGES)
    stream = client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)
    return {
        "listed": [model.id for model in client.models.list()],
        "retrieved": client.models.retrieve(MODEL).id,
        "called": [answer.model, answer.choices[0].message.content, answer.usage.total_tokens],
        "streamed": [part.choices[0].delta.content or "" for part in stream],
        "error": _error(lambda: client.chat.completions.create(model="unknown", messages=MESSAGES)),
    }


def anthropic() -> dict[str, object]:
    from anthropic import Anthropic

    client = Anthropic(base_url=URL, api_key=KEY)
    call = {"model": MODEL, "max_tokens": 10, "messages": MESSAGES}
    answer = client.messages.create(**call)
    with client.messages.stream(**call) as stream:
        parts = list(stream.text_stream)
    return {
        "listed": [model.id for model in client.models.list(limit=1)],
        "retrieved": client.models.retrieve(MODEL).id,
        "called": [answer.model, answer.content[0].text, answer.usage.input_tokens + answer.usage.output_tokens],
        "streamed": parts,
        "error": _error(lambda: client.messages.create(**{**call, "model": "unknown"})),
    }


def gemini() -> dict[str, object]:
    from google import genai

    client = genai.Client(api_key=KEY, http_options={"base_url": URL})
    answer = client.models.generate_content(model=MODEL, contents="Hi")
    return {
        "listed": [model.name.removeprefix("models/") for model in client.models.list(config={"page_size": 1})],
        "retrieved": client.models.get(model=MODEL).name.removeprefix("models/"),
        "called": [answer.model_version, answer.text, answer.usage_metadata.total_token_count],
        "streamed": [part.text for part in client.models.generate_content_stream(model=MODEL, contents="Hi")],
        "counted": client.models.count_tokens(model=MODEL, contents="Hi").total_tokens,
        "embedded": client.models.embed_content(model=MODEL, contents="Hi").embeddings[0].values,
        "error": _error(lambda: client.models.generate_content(model="unknown", contents="Hi")),
    }


def ollama() -> dict[str, object]:
    from ollama import Client

    client = Client(host=URL, headers={"Authorization": f"Bearer {KEY}"})
    answer = client.chat(model=MODEL, messages=MESSAGES)
    return {
        "listed": [model.model for model in client.list().models],
        "retrieved": MODEL if client.show(MODEL).modelinfo else "",
        "called": [answer.model, answer.message.content, answer.prompt_eval_count + answer.eval_count],
        "streamed": [part.message.content for part in client.chat(model=MODEL, messages=MESSAGES, stream=True)],
        "generated": [part.response for part in client.generate(model=MODEL, prompt="Hi", stream=True)],
        "embedded": client.embed(model=MODEL, input="Hi").embeddings[0],
        "error": _error(lambda: client.chat(model="unknown", messages=MESSAGES)),
    }


def mistral() -> dict[str, object]:
    from mistralai.client import Mistral

    client = Mistral(server_url=URL, api_key=KEY)
    answer = client.chat.complete(model=MODEL, messages=MESSAGES)
    with client.chat.stream(model=MODEL, messages=MESSAGES) as stream:
        parts = [event.data.choices[0].delta.content or "" for event in stream]
    return {
        "listed": [model.id for model in client.models.list().data],
        "retrieved": client.models.retrieve(model_id=MODEL).id,
        "called": [answer.model, answer.choices[0].message.content, answer.usage.total_tokens],
        "streamed": parts,
        "error": _error(lambda: client.chat.complete(model="unknown", messages=MESSAGES)),
    }


def langchain() -> dict[str, object]:
    """It does not list models."""
    from langchain_openai import ChatOpenAI, OpenAIEmbeddings

    proxy = {"base_url": f"{URL}/v1", "api_key": KEY}
    model = ChatOpenAI(model=MODEL, **proxy)
    answer = model.invoke("Hi")
    # It would fetch the tokenizer of the model, to split long texts.
    embeddings = OpenAIEmbeddings(model="text-embedding-3", check_embedding_ctx_length=False, **proxy)
    return {
        "called": [answer.response_metadata["model_name"], answer.content, answer.usage_metadata["total_tokens"]],
        "streamed": [part.content for part in model.stream("Hi")],
        "embedded": embeddings.embed_query("Hi"),
        "error": _error(lambda: ChatOpenAI(model="unknown", **proxy).invoke("Hi")),
    }


def litellm() -> dict[str, object]:
    from litellm import completion, embedding, get_valid_models

    proxy = {"api_base": f"{URL}/v1", "api_key": KEY}
    answer = completion(f"openai/{MODEL}", MESSAGES, **proxy)
    stream = completion(f"openai/{MODEL}", MESSAGES, stream=True, **proxy)
    return {
        "listed": get_valid_models(check_provider_endpoint=True, custom_llm_provider="openai", **proxy),
        "called": [answer.model, answer.choices[0].message.content, answer.usage.total_tokens],
        "streamed": [part.choices[0].delta.content or "" for part in stream],
        "embedded": embedding("openai/text-embedding-3", ["Hi"], **proxy).data[0]["embedding"],
        "error": _error(lambda: completion("openai/unknown", MESSAGES, **proxy)),
    }


def _error(call) -> list[object]:
    """The status and the message of the error that a call raises."""
    try:
        call()
    except Exception as error:
        status = getattr(error, "status_code", None) or getattr(error, "code", None)
        return [status, str(error)]
    return []


SDKS = {each.__name__: each for each in (openai, anthropic, gemini, ollama, mistral, langchain, litellm)}
# The last line: LiteLLM prints advice.
print(json.dumps(SDKS[sys.argv[1]]()))
