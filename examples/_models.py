"""The models that the examples use: hosted ones if a key is set, otherwise two small local ones.

In your own code, name your models directly: `proposers=["openai:gpt-6-luna", "anthropic:claude-sonnet-5"]`.
"""

from __future__ import annotations

import os
import sys
from typing import Any

OPTIONS: dict[str, Any] = {}

if os.environ.get("TOGETHER_API_KEY"):
    PROPOSERS = ["together:Qwen/Qwen3.8-Flash", "together:zai-org/GLM-5.3-Flash"]
    AGGREGATOR = "together:deepseek-ai/DeepSeek-V4.1-Flash"
elif os.environ.get("OPENAI_API_KEY"):
    PROPOSERS = ["openai:gpt-6-luna", "openai:gpt-6.1-terra"]
    AGGREGATOR = "openai:gpt-6.1-terra"
else:
    PROPOSERS = ["local:smollm2-135m", "local:gemma3-270m"]
    AGGREGATOR = "local:smollm2-135m"
    # Models this small need a shorter instruction than the paper's, and a limit because they do not stop by themselves.
    OPTIONS = {
        "prompt": "Here are answers from other assistants. "
        "Write one best answer to the user's question in one or two sentences.",
        "temperature": 0.3,
        "max_tokens": 64,
    }
    print(
        "No key is set, so two very small local models answer. They show that it works, not how good it is.\n", file=sys.stderr
    )
