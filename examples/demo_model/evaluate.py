#!/usr/bin/env python3
"""Asks a running server 1,000 held-out problems over its OpenAI API and checks the answers. Standard library only.

    ./evaluate.py [--url http://127.0.0.1:8000] [--problems 1000] [--concurrency 16]

Prints accuracy by task, the server's token usage and speed; exits 1 when fewer than 95 % are right.
"""

import argparse
import json
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import problems

SEED = 1979  # not the training seed; the problems are of the part that training leaves out in any case
RIGHT_MIN = 0.95
TIMEOUT_S = 300


def get_json(url, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as reply:
        return json.load(reply)


def ask(url, model, problem, tokens_max):
    """(reply content, usage); a failed request counts as a wrong answer and says why."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": problem.question}],
        "temperature": 0,
        "max_tokens": tokens_max,
    }
    try:
        reply = get_json(f"{url}/v1/chat/completions", body)
        return reply["choices"][0]["message"]["content"] or "", reply.get("usage") or {}
    except urllib.error.HTTPError as error:
        return f"[HTTP {error.code}: {error.read().decode(errors='replace')}]", {}
    except (OSError, ValueError, KeyError) as error:
        return f"[{type(error).__name__}: {error}]", {}


def flat_usage(usage):
    """Usage as one level of counters, details included."""
    counts = Counter({key: value for key, value in usage.items() if isinstance(value, int)})
    for details in usage.values():
        if isinstance(details, dict):
            counts.update({key: value for key, value in details.items() if isinstance(value, int)})
    return counts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--model", help="default: the first of /v1/models")
    parser.add_argument("--problems", type=int, default=1000)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--max-tokens", type=int, default=400)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--show-wrong", type=int, default=10, metavar="N")
    args = parser.parse_args()

    url = args.url.rstrip("/")
    try:
        model = args.model or get_json(f"{url}/v1/models")["data"][0]["id"]
    except (OSError, ValueError, LookupError) as error:
        sys.exit(f"{url}/v1/models: {error}")
    drawn = problems.held_out_problems(args.seed, args.problems)
    begin = time.monotonic()
    with ThreadPoolExecutor(args.concurrency) as pool:
        replies = list(pool.map(lambda problem: ask(url, model, problem, args.max_tokens), drawn))
    seconds = time.monotonic() - begin

    right, total, usage, shown = Counter(), Counter(), Counter(), 0
    for problem, (content, used) in zip(drawn, replies):
        good = problems.is_right(problem, content)
        total[problem.task] += 1
        right[problem.task] += good
        usage += flat_usage(used)
        if not good and shown < args.show_wrong:
            shown += 1
            print(f"wrong: {problem.question!r}: wanted {problem.value or problem.answer!r}, got {content!r}")
    print(f"{'task':15} {'right':>5} {'of':>5} {'accuracy':>9}")
    for task in sorted(total):
        print(f"{task:15} {right[task]:5} {total[task]:5} {right[task] / total[task]:9.1%}")
    accuracy = right.total() / total.total()
    print(f"{'total':15} {right.total():5} {total.total():5} {accuracy:9.1%}")
    print("usage: " + ", ".join(f"{key} {value}" for key, value in sorted(usage.items())))
    completion = usage["completion_tokens"]
    print(f"{seconds:.1f} s at concurrency {args.concurrency}: {completion / seconds:.0f} completion tokens/s")
    sys.exit(accuracy < RIGHT_MIN)


if __name__ == "__main__":
    main()
