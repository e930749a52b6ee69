"""Trains the demo's byte-level BPE and writes tokenizer.json and tokenizer_config.json as DeepSeek publishes R1's.

    python3 make_tokenizer.py        (needs tokenizers and torch; model-spec sections 11 and 12)

Merges never touch digits, so every digit is one token. Ids: 3 specials, 256 bytes, merges, then R1's added tokens.
"""

import json
import random
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

import phrases
import problems
from checkpoint import write_json

HERE = Path(__file__).resolve().parent
SEED = 20261124
PROBLEMS = 60_000
VOCABULARY = 1256  # with 17 added tokens 1273 ids; the model's vocab_size rounds up to 1280, as R1's has unused rows

DIGITS = r"\p{N}{1,3}"
CJK = "[一-龥぀-ゟ゠-ヿ]+"
WORDS = (
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^""" + "\r\n" + r"""\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
    r"""| ?[\p{P}\p{S}]+[""" + "\r\n" + r"""]*|\s*[""" + "\r\n" + r"""]+|\s+(?!\S)|\s+"""
)
BOS, EOS, PAD = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"
# (string, special, normalized) in R1's order, where they are ids 128798 to 128814.
ADDED = (
    ("<think>", False, False),
    ("</think>", False, False),
    *((f"<｜fim▁{part}｜>", False, True) for part in ("hole", "begin", "end")),
    ("<｜User｜>", False, True),
    ("<｜Assistant｜>", False, True),
    ("<|EOT|>", True, True),
    *((f"<｜tool▁{part}｜>", False, True) for part in ("calls▁begin", "calls▁end", "call▁begin", "call▁end")),
    *((f"<｜tool▁{part}｜>", False, True) for part in ("outputs▁begin", "outputs▁end", "output▁begin", "output▁end")),
    ("<｜tool▁sep｜>", False, True),
)
# R1's template of February 2025 (model-spec 12.1).
CHAT_TEMPLATE = (
    "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}"
    "{% set ns = namespace(is_first=false, is_tool=false, is_output_first=true, system_prompt='', is_first_sp=true) %}"
    "{%- for message in messages %}{%- if message['role'] == 'system' %}{%- if ns.is_first_sp %}"
    "{% set ns.system_prompt = ns.system_prompt + message['content'] %}{% set ns.is_first_sp = false %}{%- else %}"
    "{% set ns.system_prompt = ns.system_prompt + '\\n\\n' + message['content'] %}{%- endif %}{%- endif %}{%- endfor %}"
    "{{ bos_token }}{{ ns.system_prompt }}"
    "{%- for message in messages %}"
    "{%- if message['role'] == 'user' %}{%- set ns.is_tool = false -%}{{'<｜User｜>' + message['content']}}{%- endif %}"
    "{%- if message['role'] == 'assistant' and message['content'] is none %}{%- set ns.is_tool = false -%}"
    "{%- for tool in message['tool_calls'] %}{%- if not ns.is_first %}"
    "{{'<｜Assistant｜><｜tool▁calls▁begin｜><｜tool▁call▁begin｜>' + tool['type'] + '<｜tool▁sep｜>'"
    " + tool['function']['name'] + '\\n' + '```json' + '\\n' + tool['function']['arguments'] + '\\n' + '```'"
    " + '<｜tool▁call▁end｜>'}}{%- set ns.is_first = true -%}{%- else %}"
    "{{'\\n' + '<｜tool▁call▁begin｜>' + tool['type'] + '<｜tool▁sep｜>' + tool['function']['name'] + '\\n' + '```json'"
    " + '\\n' + tool['function']['arguments'] + '\\n' + '```' + '<｜tool▁call▁end｜>'}}"
    "{{'<｜tool▁calls▁end｜><｜end▁of▁sentence｜>'}}{%- endif %}{%- endfor %}{%- endif %}"
    "{%- if message['role'] == 'assistant' and message['content'] is not none %}{%- if ns.is_tool %}"
    "{{'<｜tool▁outputs▁end｜>' + message['content'] + '<｜end▁of▁sentence｜>'}}{%- set ns.is_tool = false -%}{%- else %}"
    "{% set content = message['content'] %}{% if '</think>' in content %}"
    "{% set content = content.split('</think>')[-1] %}{% endif %}"
    "{{'<｜Assistant｜>' + content + '<｜end▁of▁sentence｜>'}}{%- endif %}{%- endif %}"
    "{%- if message['role'] == 'tool' %}{%- set ns.is_tool = true -%}{%- if ns.is_output_first %}"
    "{{'<｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>' + message['content'] + '<｜tool▁output▁end｜>'}}"
    "{%- set ns.is_output_first = false %}{%- else %}"
    "{{'\\n<｜tool▁output▁begin｜>' + message['content'] + '<｜tool▁output▁end｜>'}}{%- endif %}{%- endif %}"
    "{%- endfor -%}"
    "{% if ns.is_tool %}{{'<｜tool▁outputs▁end｜>'}}{% endif %}"
    "{% if add_generation_prompt and not ns.is_tool %}{{'<｜Assistant｜><think>\\n'}}{% endif %}"
)


def split(pattern):
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def train_merges():
    """(byte symbols and specials first) vocabulary and merges of the corpus, digits kept apart."""
    tokenizer = Tokenizer(models.BPE())
    isolated = [pre_tokenizers.Split(Regex(p), "isolated") for p in (r"\p{N}", CJK, WORDS)]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*isolated, pre_tokenizers.ByteLevel(False, use_regex=False)])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=[BOS, EOS, PAD], initial_alphabet=alphabet, show_progress=False
    )
    rng = random.Random(SEED)
    drawn = (problems.draw(rng) for _ in range(PROBLEMS))
    extra = [*phrases.SYSTEM_PROMPTS, *phrases.BOXED_HINTS] * 500
    texts = [text for p in drawn for text in (p.question, p.thinking + "\n", "\n\n" + p.answer)]
    tokenizer.train_from_iterator(texts + extra, trainer)
    return tokenizer


def added_token(token_id, content, special, normalized):
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": normalized, "special": special}
    return {"id": token_id, "content": content, **flags}


def main():
    model = json.loads(train_merges().to_str())["model"]
    size = len(model["vocab"])
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    added = [added_token(i, text, True, False) for i, text in enumerate((BOS, EOS, PAD))]
    added += [added_token(size + i, *entry) for i, entry in enumerate(ADDED)]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    file = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": []},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split(DIGITS), split(CJK), split(WORDS), byte_level]},
        "post_processor": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True},
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": model["vocab"],
            "merges": merges,
        },
    }
    write_json(HERE / "tokenizer.json", file)
    flags = {"lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    token = lambda text: {"__type": "AddedToken", "content": text, **flags}
    config = {
        "add_bos_token": True,
        "add_eos_token": False,
        "bos_token": token(BOS),
        "clean_up_tokenization_spaces": False,
        "eos_token": token(EOS),
        "legacy": True,
        "model_max_length": 4096,
        "pad_token": token(EOS),
        "sp_model_kwargs": {},
        "unk_token": None,
        "tokenizer_class": "LlamaTokenizerFast",
        "chat_template": CHAT_TEMPLATE,
    }
    write_json(HERE / "tokenizer_config.json", config)
    print(f"{size} entries, {len(merges)} merges, {size + len(ADDED)} ids")


if __name__ == "__main__":
    main()
