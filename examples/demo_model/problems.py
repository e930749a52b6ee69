"""The demo model's world: generated problems with worked answers in R1's format, and which of them training never sees.

Standard library only: train.py learns from it, evaluate.py asks from it. Every answer is a function of its question,
so the model's greedy output can be compared letter by letter. Steps are small enough for one look-up each.
"""

import random
import re
import zlib
from dataclasses import dataclass

import phrases

# One problem in HELD_OUT_ONE_IN is never trained on; which ones depends on the numbers or words, not on the phrasing.
HELD_OUT_ONE_IN = 50


@dataclass(frozen=True)
class Problem:
    task: str
    key: str  # what the problem is about, without its phrasing
    question: str
    thinking: str
    answer: str
    value: str | None  # what \boxed{} holds; None: the whole answer counts

    @property
    def held_out(self):
        return self.task != "chat" and zlib.crc32(self.key.encode()) % HELD_OUT_ONE_IN == 0

    @property
    def response(self):
        """What follows the generation prompt, which ends with `<think>` and a newline."""
        return f"{self.thinking}\n</think>\n\n{self.answer}"


def is_right(problem, content):
    """Whether a reply (without its reasoning) answers the problem."""
    if problem.value is None:
        return content.strip() == problem.answer
    boxed = re.findall(r"\\boxed\{([^{}]*)\}", content)
    return bool(boxed) and boxed[-1].replace(" ", "") == problem.value.replace(" ", "")


# -- worked steps ------------------------------------------------------------------------------------------------------


def pad(*numbers):
    """The numbers as digits of equal width."""
    width = max(len(str(n)) for n in numbers)
    return [str(n).zfill(width) for n in numbers]


def add_steps(a, b):
    """Column addition from the right: digit+digit+carry=sum:result so far."""
    a, b = pad(a, b)
    lines, carry, done = [f"{a}+{b}"], 0, ""
    for i in reversed(range(len(a))):
        total = int(a[i]) + int(b[i]) + carry
        done = (str(total) if i == 0 else str(total % 10)) + done
        lines.append(f"{a[i]}+{b[i]}+{carry}={total}:{done}")
        carry = total // 10
    return lines


def compare_steps(a, b):
    """Digit by digit from the left until one is larger."""
    lines = []
    for x, y in zip(*pad(a, b)):
        lines.append(f"{x}{'=' if x == y else '>' if x > y else '<'}{y}")
        if x != y:
            break
    return lines


def subtract_steps(a, b):
    """Which is larger, then column subtraction from the right: digit-digit-borrow=digit,borrow:result so far."""
    x, y = pad(a, b)
    lines = [f"{x}-{y}", *compare_steps(a, b)]
    if a < b:
        x, y = y, x
        lines.append(f"-({x}-{y})")
    borrow, done = 0, ""
    for i in reversed(range(len(x))):
        difference = int(x[i]) - int(y[i]) - borrow
        digit, next_borrow = difference % 10, int(difference < 0)
        done = str(digit) + done
        lines.append(f"{x[i]}-{y[i]}-{borrow}={digit},{next_borrow}:{done}")
        borrow = next_borrow
    return lines


def row_steps(a, digit, zeros):
    """a times one digit of the other factor, which stands `zeros` places from the right."""
    lines, carry, done = [f"{a}*{digit}{'0' * zeros}"], 0, "0" * zeros
    text = str(a)
    for i in reversed(range(len(text))):
        total = int(text[i]) * digit + carry
        done = (str(total) if i == 0 else str(total % 10)) + done
        lines.append(f"{text[i]}*{digit}+{carry}={total}:{done}")
        carry = total // 10
    return lines, int(done)


def multiply_steps(a, b):
    """One row per digit of the shorter factor, added up as they come."""
    if len(str(a)) < len(str(b)):
        a, b = b, a
    if b < 10:
        return row_steps(a, b, 0)[0]
    lines, total = [f"{a}*{b}"], None
    for zeros, digit in enumerate(reversed(str(b))):
        row, product = row_steps(a, int(digit), zeros)
        lines += row
        if total is not None:
            lines += add_steps(total, product)
        total = product if total is None else total + product
    return lines


STEPS = {"+": add_steps, "-": subtract_steps, "*": multiply_steps}


# -- tasks -------------------------------------------------------------------------------------------------------------


def number(rng, digits):
    return rng.randrange(10 ** (digits - 1) if digits > 1 else 0, 10**digits)


def numbers(rng, weights):
    """Two numbers whose digit counts are drawn by weight; weights[0] is for one digit."""
    lengths = rng.choices(range(1, len(weights) + 1), weights, k=2)
    return [number(rng, n) for n in lengths]


def equation(rng, task, op, a, b):
    form = rng.choice(phrases.EQUATION_FORMS) if rng.random() < 0.7 else rng.choice(phrases.WORD_FORMS[op])
    question = form.format(a=a, b=b, op=rng.choice(phrases.SIGNS[op]))
    value = str({"+": a + b, "-": a - b, "*": a * b}[op])
    sign = "×" if op == "*" else op
    return Problem(
        task, f"{a}{op}{b}", question, "\n".join(STEPS[op](a, b)), f"{a} {sign} {b} = \\boxed{{{value}}}", value
    )


def addition(rng):
    return equation(rng, "addition", "+", *numbers(rng, (1, 2, 3, 4, 3, 2, 1)))


def subtraction(rng):
    a, b = numbers(rng, (1, 2, 3, 4, 3, 1))
    if a < b and rng.random() < 0.5:
        a, b = b, a
    return equation(rng, "subtraction", "-", a, b)


def multiplication(rng):
    a, b = number(rng, rng.choices((1, 2, 3, 4), (1, 3, 4, 1))[0]), number(rng, rng.choices((1, 2), (2, 3))[0])
    if rng.random() < 0.3:
        a, b = b, a
    return equation(rng, "multiplication", "*", a, b)


def comparison(rng):
    a, b = numbers(rng, (1, 2, 3, 3, 1))
    if rng.random() < 0.4:
        b = max(0, a + rng.randrange(-20, 21))
    if a == b:
        b += 1
    larger = rng.random() < 0.6
    word = rng.choice(("larger", "bigger", "greater")) if larger else rng.choice(("smaller", "less"))
    value = max(a, b) if larger else min(a, b)
    steps = [",".join(pad(a, b)), *compare_steps(a, b), str(value)]
    answer = f"\\boxed{{{value}}} is {'larger' if larger else 'smaller'}."
    question = rng.choice(phrases.COMPARE_FORMS).format(word=word, a=a, b=b)
    return Problem("comparison", f"{a}?{b}", question, "\n".join(steps), answer, str(value))


def sorting(rng):
    digits = rng.choices((1, 2, 3), (1, 5, 3))[0]
    count, values = rng.randrange(3, 7), []
    while len(values) < count:
        value = number(rng, rng.randrange(1, digits + 1) if rng.random() < 0.3 else digits)
        if value not in values:
            values.append(value)
    descending = rng.random() < 0.3
    left, steps = dict(zip(values, pad(*values))), [",".join(pad(*values))]
    for value in sorted(values, reverse=descending):
        text = left.pop(value)
        steps.append(text + (":" + ",".join(left.values()) if left else ""))
    listed = ", ".join(map(str, values))
    if rng.random() < 0.3:
        listed = " and ".join(listed.rsplit(", ", 1))
    question = rng.choice(phrases.SORT_FORMS).format(list=listed, way=rng.choice(phrases.SORT_WAYS[descending]))
    result = ", ".join(map(str, sorted(values, reverse=descending)))
    return Problem("sorting", f"sort {sorted(values)}", question, "\n".join(steps), f"\\boxed{{{result}}}", result)


def counting(rng):
    if rng.random() < 0.6:
        word = rng.choice(phrases.WORDS)
    else:
        word = "".join(rng.choice("bcdfghjklmnprstvwz") + rng.choice("aeiou") for _ in range(rng.randrange(2, 5)))
        word = word[: rng.randrange(3, len(word) + 1)]
    letter = rng.choice(word) if rng.random() < 0.85 else rng.choice("abcdefghijklmnopqrstuvwxyz")
    count, spelled = 0, []
    for c in word:
        count += c == letter
        spelled.append(c + (str(count) if c == letter else ""))
    answer = f"The letter {letter} appears \\boxed{{{count}}} time{'' if count == 1 else 's'} in {word}."
    question = rng.choice(phrases.COUNT_FORMS).format(c=letter, w=word)
    return Problem("counting", f"{letter} in {word}", question, ",".join(spelled), answer, str(count))


def story(rng):
    question, expression, answer = rng.choice(phrases.STORIES)
    operators = expression[1::2]
    if operators[0] == "*":
        a, b = rng.randrange(2, 100), rng.randrange(2, 13)
        value = a * b
    else:
        a, b = rng.randrange(2, 200), rng.randrange(2, 100)
        if operators[0] == "-" and a < b:
            a, b = b, a
        value = a + b if operators[0] == "+" else a - b
    steps, c = STEPS[operators[0]](a, b), 0
    if operators[1:]:
        c = rng.randrange(1, max(2, min(value, 99)))
        steps += STEPS[operators[1]](value, c)
        value = value + c if operators[1] == "+" else value - c
    names = rng.sample(phrases.NAMES, 2)
    fields = dict(
        n=names[0],
        m=names[1],
        a=a,
        b=b,
        c=c,
        i=rng.choice(phrases.ITEMS),
        x=rng.choice(phrases.BOXES),
        v=f"\\boxed{{{value}}}",
    )
    key = f"story {expression} {a} {b} {c}"
    return Problem("story", key, question.format(**fields), "\n".join(steps), answer.format(**fields), str(value))


def chat(rng):
    thinking, answer, questions = rng.choice(phrases.SMALL_TALK if rng.random() < 0.6 else phrases.CAPITAL_TALK)
    question = rng.choice(questions)
    return Problem("chat", question, question, thinking, answer, None)


def unknown(rng):
    """Something outside the model's world, which it should say so."""
    form = rng.choice(phrases.UNKNOWN_FORMS)
    question = form.format(
        w=rng.choice(phrases.WORDS), v=rng.choice(phrases.WORDS), a=rng.randrange(1000), b=rng.randrange(1, 100)
    )
    answer = f"I am sorry, I do not know that. {phrases.HELP}"
    return Problem("chat", question, question, "This is not something I learned.", answer, None)


TASKS = {
    addition: 18,
    subtraction: 17,
    multiplication: 20,
    comparison: 8,
    sorting: 11,
    counting: 13,
    story: 9,
    chat: 3,
    unknown: 1,
}


def draw(rng, held_out=False):
    """One problem by the tasks' weights, from what training sees or from what it never sees."""
    task = rng.choices(list(TASKS), TASKS.values())[0]
    while True:
        problem = task(rng)
        if problem.held_out == held_out or problem.task == "chat":
            return problem


def held_out_problems(seed, count):
    """`count` different problems that training never saw (of chat, which is a short list, any question may come)."""
    rng, seen = random.Random(seed), {}
    while len(seen) < count:
        problem = draw(rng, held_out=True)
        seen.setdefault(problem.question, problem)
    return list(seen.values())
