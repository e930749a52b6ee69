#!/usr/bin/env python3
"""Renders random conversations with the published Jinja templates: chat.json.

usage: make_chat.py V3_TOKENIZER_CONFIG R1_0528_TEMPLATE   (pip: jinja2)

R1's template is V3's with two changes (model-spec.md 12.1): earlier reasoning is dropped and the generation prompt
opens the next one. Content `null` beside tool calls is written as "", as troupe::model::chat_message has it.
"""

import json
import random
import sys

import jinja2

SEED = 12
CONVERSATIONS = 60
BOS = "<｜begin▁of▁sentence｜>"


def replaced(text, old, new):
    assert text.count(old) == 1, old
    return text.replace(old, new)


def r1_of(v3):
    plain = "{{'<｜Assistant｜>' + message['content'] + '<｜end▁of▁sentence｜>'}}"
    stripped = (
        "{% set content = message['content'].split('</think>')[-1] %}"
        "{{'<｜Assistant｜>' + content + '<｜end▁of▁sentence｜>'}}"
    )
    r1 = replaced(v3, plain, stripped)
    return replaced(r1, "{{'<｜Assistant｜>'}}", "{{'<｜Assistant｜><think>\\n'}}")


def call(rng):
    name = rng.choice(["get_weather", "f"])
    return {"type": "function", "function": {"name": name, "arguments": rng.choice(["{}", '{"city": "Köln"}'])}}


def message(rng):
    role = rng.choice(["user", "user", "assistant", "assistant", "tool", "system"])
    text = rng.choice(["Hi", "", "two\nlines", "<think>\nhm\n</think>\n\nyes", "a</think>b</think>c", "中文 🤖"])
    if role == "assistant" and rng.random() < 0.4:
        content = rng.choice([None, None, "let me see"])
        return {"role": role, "content": content, "tool_calls": [call(rng) for _ in range(rng.randint(1, 3))]}
    return {"role": role, "content": text}


def plain(message):
    """As chat_message: calls are flat, null is empty."""
    flat = {"role": message["role"], "content": message["content"] or ""}
    if "tool_calls" in message:
        flat["tool_calls"] = [{"type": c["type"], **c["function"]} for c in message["tool_calls"]]
    return flat


def for_0528(message):
    """Its template cannot search null for `</think>`."""
    return {**message, "content": message["content"] or ""}


def main():
    v3 = json.load(open(sys.argv[1], encoding="utf-8"))["chat_template"]
    r1_0528 = open(sys.argv[2], encoding="utf-8").read()
    env = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    rng = random.Random(SEED)
    cases = []
    for name, text in {"v3": v3, "r1": r1_of(v3), "r1-0528": r1_0528}.items():
        template = env.from_string(text)
        for _ in range(CONVERSATIONS):
            messages = [message(rng) for _ in range(rng.randint(1, 7))]
            prompt_too = rng.random() < 0.8
            seen = [for_0528(m) for m in messages] if name == "r1-0528" else messages
            prompt = template.render(messages=seen, bos_token=BOS, add_generation_prompt=prompt_too)
            cases.append(
                {
                    "format": name,
                    "messages": [plain(m) for m in messages],
                    "add_generation_prompt": prompt_too,
                    "prompt": prompt,
                }
            )
    with open("chat.json", "w", encoding="utf-8") as out:
        out.write("[\n" + ",\n".join(json.dumps(c, ensure_ascii=False) for c in cases) + "\n]\n")


if __name__ == "__main__":
    main()
