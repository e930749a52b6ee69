#!/usr/bin/env python3
"""Asks a Troupe server with the official OpenAI client and streams the answer; thinking is dimmed.

    pip install openai
    python3 examples/01_chat_python/chat.py "What is 4821 + 3979?"
"""
import os
import sys

import openai

client = openai.OpenAI(
    base_url=os.environ.get("TROUPE_URL", "http://127.0.0.1:8000") + "/v1",
    api_key=os.environ.get("TROUPE_API_KEY", "none"),
)
model = client.models.list().data[0].id
question = " ".join(sys.argv[1:]) or "What is 4821 + 3979?"

stream = client.chat.completions.create(
    model=model,
    messages=[{"role": "user", "content": question}],
    temperature=0,
    stream=True,
    stream_options={"include_usage": True},
)
for chunk in stream:
    for choice in chunk.choices:
        # DeepSeek's field: the official client passes on what it does not know.
        if thought := getattr(choice.delta, "reasoning_content", None):
            print(f"\033[2m{thought}\033[0m", end="", flush=True)
        if choice.delta.content:
            print(choice.delta.content, end="", flush=True)
    if chunk.usage:
        reasoning = chunk.usage.completion_tokens_details.reasoning_tokens
        print(f"\n\n{chunk.usage.completion_tokens} tokens, {reasoning} of them thinking")
