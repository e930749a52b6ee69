"""Encodes 10,000 random strings with the `tokenizers` library: tokenizer/strings.json, for the demo's tokenizer.json.

    python3 tests/golden/make_tokenizer.py        (needs tokenizers; rerun when examples/demo_model/tokenizer.json changes)
"""

import hashlib
import json
import random
from pathlib import Path

import tokenizers

HERE = Path(__file__).resolve().parent
TOKENIZER = HERE.parent.parent / "examples/demo_model/tokenizer.json"
SEED = 11
STRINGS = 10_000

# Every class the pre-tokenizer's expressions tell apart, and the borders between them.
POOLS = [
    "abcdefghijklmnopqrstuvwxyzABCXYZ",
    "0123456789",
    "١٢٣५६७½Ⅷ²",
    " ",
    "\t\n\r \u0085\u00a0\u1680\u2003\u2028\u202f\u3000",
    "\u180e\u200b\u200d\ufeff\x00\x01\x1f\x7f",
    "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
    "。、！？“”«»—…€∑∞→",
    "一中文字日本龥鿿぀ぁゟ゠アヿ",
    "éñßøæçÜǅﬁẞ\u0301\u0308\u093f",
    "Ωшяעברيةไทยहिन्दी한국어",
    "😀🤖👩👧🏽🇩🇪𝒳𐍈",
]
WORDS = [
    "What is ", "How many ", "Sort ", "let me think", "step by step", "\\boxed{", "}", "</think>", "<think>", "\n\n", " + ", " = ",
    "<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>", "<｜tool▁sep｜>", "<|EOT|>", "<｜User", "｜>", "<thi", "don't", "  ",
]


def text(rng):
    parts = []
    for _ in range(rng.randint(1, 7)):
        if rng.random() < 0.4:
            parts.append(rng.choice(WORDS))
        else:
            pool = rng.choice(POOLS)
            parts.append("".join(rng.choice(pool) for _ in range(rng.randint(1, 6))))
    return "".join(parts)


def main():
    tokenizer = tokenizers.Tokenizer.from_file(str(TOKENIZER))
    rng = random.Random(SEED)
    texts = {}
    while len(texts) < STRINGS:
        texts[text(rng)] = None
    texts = list(texts)
    head = {
        "tokenizers": tokenizers.__version__,
        "seed": SEED,
        "tokenizer_sha256": hashlib.sha256(TOKENIZER.read_bytes()).hexdigest(),
    }
    lines = [
        json.dumps({"text": t, "ids": e.ids}, ensure_ascii=False, separators=(",", ":"))
        for t, e in zip(texts, tokenizer.encode_batch(texts, add_special_tokens=False))
    ]
    out = HERE / "tokenizer/strings.json"
    out.parent.mkdir(exist_ok=True)
    head = json.dumps(head)[:-1]
    out.write_text(f'{head}, "strings": [\n' + ",\n".join(lines) + "\n]}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
