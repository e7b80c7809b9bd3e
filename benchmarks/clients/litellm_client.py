"""litellm by both APIs: an answer, a stream, a tool."""

import os
from typing import Any

import litellm

place: dict[str, Any] = {"model": "openai/moa", "api_base": os.environ["MOA_URL"], "api_key": "none", "num_retries": 0}
messages = [{"role": "user", "content": "Hi"}]
assert litellm.completion(messages=messages, **place).choices[0].message.content == "agg says: Hi"
chunks = litellm.completion(messages=messages, stream=True, **place)
assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "agg says: Hi"
response = litellm.responses(input="Hi", **place)
assert response.output[0].content[0].text == "agg says: Hi"
kinds = [event.type for event in litellm.responses(input="Hi", stream=True, **place)]
assert str(kinds[-1]).lower().endswith("completed")

parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
tools = [{"type": "function", "function": {"name": "get_weather", "parameters": parameters}}]
question: list[Any] = [{"role": "user", "content": "get_weather for Rome"}]
first = litellm.completion(messages=question, tools=tools, **place).choices[0].message
question += [first, {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "sunny"}]
assert "sunny" in litellm.completion(messages=question, tools=tools, **place).choices[0].message.content
