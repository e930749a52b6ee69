"""Golden data of the demo's tokenizer: 10,000 strings with their ids from the `tokenizers` library.

build/venv/bin/python tests/golden/make_tokenizer.py        writes tokenizer/strings.jsonl
"""

import json
import random
import sys
from pathlib import Path

from tokenizers import Tokenizer

HERE = Path(__file__).resolve().parent
DEMO = HERE.parents[1] / "examples" / "demo_model"
sys.path.insert(0, str(DEMO))

import problems

SEED = 11
COUNT = 10_000
# The vectors of model-spec 11.4, which try every rule of V3's pre-tokenizer.
SPEC = (
    "", "Hello, world!", "How are you doing?", "  leading and   multiple   spaces  ", "x=12345678; y = 3.14159",
    "def fib(n):\n    if n < 2:\n        return n\n\n\n    return fib(n-1)+fib(n-2)\r\n", "こんにちは世界、東京タワー。",
    "🤖👩‍👩‍👧‍👦 émoji naïve café", "don't I'll we'VE #include <stdio.h> a_b", "\t\ttabs\n \n  mixed \n", "١٢٣٤ ५६७ ½ Ⅷ",
    "a\u00a0b\u3000c", "\\boxed{42} $x^2$ \\frac{1}{2}", "Ünïcödé ẞ ǅ ﬁ", "مرحبا بالعالم", "ไทย ภาษา", "한국어 테스트",
    "price: $1,234.56!!!\n\n", "www.example.com/path?x=1&y=2", "Hello! 毕老师！1 + 1 = 2 ĠÑĤÐ²ÑĬÑĢ", "a  1",
    "a  \n 1\r\n\r\n b", "<｜begin▁of▁sentence｜><｜User｜>What is 1+1?<｜Assistant｜><think>\n", "<think><think></think>",
    "<｜User｜", "<|EOT|><|EOT|", "a\u0300b\u0301 \u0302c", "\x00\x01\x7f\u0085\u2028\u2029", "\U0010ffff\ue000\ufffd",
    "𝟘𝟙𝟚 ²³ 一二三 ㊿", "'s 't 're !a ?b (c) [d]",
)  # fmt: skip
SPECIAL = (
    "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>", "<think>", "</think>", "<｜User｜>", "<｜Assistant｜>",
    "<|EOT|>", "<｜tool▁sep｜>", "<｜tool▁calls▁begin｜>", "<｜fim▁hole｜>",
)  # fmt: skip
# Ranges to draw characters from: ASCII, Latin, Greek, Cyrillic, Arabic, Devanagari, Thai, punctuation,
# arrows, CJK, Hangul, emoji.
RANGES = (
    (0x20, 0x7E), (0x20, 0x7E), (0xA0, 0x17F), (0x370, 0x3FF), (0x400, 0x45F), (0x600, 0x6FF), (0x900, 0x97F),
    (0xE00, 0xE5B), (0x2000, 0x206F), (0x2150, 0x21FF), (0x3000, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3),
    (0xFF00, 0xFFEF), (0x1F300, 0x1F64F),
)  # fmt: skip
SPACES = " \t\n\r\u00a0\u3000\u2003"


def any_character(rng):
    while True:
        c = chr(rng.randrange(0x110000))
        if not 0xD800 <= ord(c) <= 0xDFFF:
            return c


def one_range(rng):
    low, high = rng.choice(RANGES)
    return "".join(chr(rng.randint(low, high)) for _ in range(rng.randrange(1, 24)))


def many_ranges(rng):
    pick = lambda: chr(rng.randint(*rng.choice(RANGES))) if rng.random() < 0.7 else rng.choice(SPACES)
    return "".join(pick() for _ in range(rng.randrange(1, 40)))


def whole_unicode(rng):
    return "".join(any_character(rng) for _ in range(rng.randrange(1, 12)))


def corpus(rng):
    problem = problems.draw(rng)
    return rng.choice((problem.question, problem.thinking, problem.answer))


def chat(rng):
    problem = problems.draw(rng)
    return f"<｜begin▁of▁sentence｜><｜User｜>{problem.question}<｜Assistant｜><think>\n{problem.response}<｜end▁of▁sentence｜>"


def damaged_corpus(rng):
    """Corpus text with characters dropped, doubled, replaced or turned into spaces, digits and specials."""
    text = list(corpus(rng))
    for _ in range(rng.randrange(1, 8)):
        change = rng.choice(
            (
                "",
                rng.choice(SPACES) * rng.randrange(1, 5),
                str(rng.randrange(10**9)),
                rng.choice(SPECIAL),
                one_range(rng),
            )
        )
        text[rng.randrange(len(text))] = change
    return "".join(text)


def spaces_and_marks(rng):
    return "".join(rng.choice(SPACES + "ab1!.,é中\u0301") for _ in range(rng.randrange(1, 20)))


def near_specials(rng):
    """Added tokens whole, cut short and side by side."""
    parts = []
    for _ in range(rng.randrange(1, 6)):
        special = rng.choice(SPECIAL)
        parts.append(rng.choice((special, special[: rng.randrange(1, len(special))], " ", "a", "1")))
    return "".join(parts)


KINDS = {
    corpus: 20,
    chat: 5,
    damaged_corpus: 25,
    one_range: 15,
    many_ranges: 15,
    whole_unicode: 8,
    spaces_and_marks: 8,
    near_specials: 4,
}


def main():
    tokenizer = Tokenizer.from_file(str(DEMO / "tokenizer.json"))
    rng, texts = random.Random(SEED), dict.fromkeys(SPEC)
    while len(texts) < COUNT:
        texts[rng.choices(list(KINDS), KINDS.values())[0](rng)] = None
    lines = []
    for text in texts:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        # Every byte is in the vocabulary, so decoding gives the text back; what is special is not skipped.
        assert tokenizer.decode(ids, skip_special_tokens=False) == text, text
        lines.append(json.dumps([text, ids], ensure_ascii=False, separators=(",", ":")))
    out = HERE / "tokenizer" / "strings.jsonl"
    out.parent.mkdir(exist_ok=True)
    out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(lines)} strings, {out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
