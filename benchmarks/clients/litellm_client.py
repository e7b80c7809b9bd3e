"""litellm by both APIs: an answer, a stream, a tool; a tool and a schema, progress, small tasks, failures."""

import json
import os
from collections.abc import Callable
from typing import Any

import litellm

place: dict[str, Any] = {"model": "openai/moa", "api_base": os.environ["MOA_URL"], "api_key": "none", "num_retries": 0}
messages = [{"role": "user", "content": "Hi"}]
assert litellm.completion(messages=messages, **place).choices[0].message.content == "moa says: Hi"
chunks = litellm.completion(messages=messages, stream=True, **place)
assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "moa says: Hi"
response = litellm.responses(input="Hi", **place)
assert response.output[0].content[0].text == "moa says: Hi"
kinds = [event.type for event in litellm.responses(input="Hi", stream=True, **place)]
assert str(kinds[-1]).lower().endswith("completed")

parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
tools = [{"type": "function", "function": {"name": "get_weather", "parameters": parameters}}]
question: list[Any] = [{"role": "user", "content": "get_weather for Rome"}]
first = litellm.completion(messages=question, tools=tools, **place).choices[0].message
question += [first, {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "sunny"}]
assert "sunny" in litellm.completion(messages=question, tools=tools, **place).choices[0].message.content

properties = {"name": {"type": "string"}, "age": {"type": "integer"}}
schema = {"type": "object", "properties": properties, "required": ["name", "age"], "additionalProperties": False}
form = {"type": "json_schema", "json_schema": {"name": "person", "schema": schema, "strict": True}}
talk: list[Any] = [{"role": "user", "content": "get_weather, Ann is 41"}]
asked = litellm.completion(messages=talk, tools=tools, response_format=form, **place).choices[0].message
talk += [asked, {"role": "tool", "tool_call_id": asked.tool_calls[0].id, "content": "sunny"}]
answer = litellm.completion(messages=talk, tools=tools, response_format=form, **place).choices[0].message
assert json.loads(answer.content)["age"] == 41

chunks = litellm.completion(messages=messages, stream=True, extra_headers={"x-moa-progress": "reasoning"}, **place)
thoughts = "".join(getattr(chunk.choices[0].delta, "reasoning_content", None) or "" for chunk in chunks)
assert "asking 2 models" in thoughts

alone = litellm.completion(messages=messages, **{**place, "model": "openai/moa#aggregator"})
assert alone.choices[0].message.content == "moa says: Hi"


def fails(ask: Callable[..., Any], **options: Any) -> bool:
    try:
        list(ask(**options, api_base=os.environ["MOA_URL"], api_key="none"))
    except Exception:  # noqa: BLE001  # litellm has an error for each status
        return True
    return False


# With the package's own retries.
for name in ("wrong-key", "broken"):
    for stream in (False, True):
        question = [{"role": "user", "content": f"chat {stream}"}]
        assert fails(litellm.completion, model=f"openai/{name}", messages=question, stream=stream)
    assert fails(litellm.responses, model=f"openai/{name}", input="responses")
