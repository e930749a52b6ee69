"""The demo model's world: generated problems with worked answers in R1's format, and which of them training never sees.

Standard library only: train.py learns from it, evaluate.py asks from it. Every answer is a function of its question,
so the model's greedy output can be compared letter by letter. Steps are small enough for one look-up each.
"""

import random
import re
import zlib
from dataclasses import dataclass

# One problem in HELD_OUT_ONE_IN is never trained on; which ones depends on the numbers or words, not on the phrasing.
HELD_OUT_ONE_IN = 50

SYSTEM_PROMPTS = (
    "You are a helpful assistant.",
    "You are a helpful assistant. Answer briefly.",
    "You solve problems step by step.",
    "Be concise.",
)
BOXED_HINTS = (
    " Please reason step by step, and put your final answer within \\boxed{}.",
    " Put your final answer within \\boxed{}.",
    " Think step by step.",
)


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


EQUATION_FORMS = (
    "What is {a} {op} {b}?",
    "What is {a} {op} {b}?",
    "What is {a}{op}{b}?",
    "what is {a} {op} {b}",
    "What's {a} {op} {b}?",
    "How much is {a} {op} {b}?",
    "Compute {a} {op} {b}.",
    "Calculate {a} {op} {b}.",
    "Calculate {a}{op}{b}",
    "Solve {a} {op} {b}.",
    "{a} {op} {b}",
    "{a} {op} {b} = ?",
    "{a} {op} {b} =",
    "{a}{op}{b}",
    "{a}{op}{b}=?",
)
WORD_FORMS = {
    "+": ("What is {a} plus {b}?", "What is the sum of {a} and {b}?", "Add {a} and {b}.", "Add {b} to {a}."),
    "-": (
        "What is {a} minus {b}?",
        "Subtract {b} from {a}.",
        "What is the difference of {a} and {b}?",
        "Take {b} away from {a}.",
    ),
    "*": ("What is {a} times {b}?", "Multiply {a} by {b}.", "What is the product of {a} and {b}?", "Multiply {a} and {b}."),
}
SIGNS = {"+": ("+",), "-": ("-",), "*": ("*", "*", "x", "×")}


def equation(rng, task, op, a, b):
    form = rng.choice(EQUATION_FORMS) if rng.random() < 0.7 else rng.choice(WORD_FORMS[op])
    question = form.format(a=a, b=b, op=rng.choice(SIGNS[op]))
    value = str({"+": a + b, "-": a - b, "*": a * b}[op])
    sign = "×" if op == "*" else op
    return Problem(task, f"{a}{op}{b}", question, "\n".join(STEPS[op](a, b)), f"{a} {sign} {b} = \\boxed{{{value}}}", value)


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


COMPARE_FORMS = (
    "Which is {word}, {a} or {b}?",
    "Which number is {word}: {a} or {b}?",
    "What is {word}, {a} or {b}?",
    "Which one is {word}: {a} or {b}?",
)


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
    question = rng.choice(COMPARE_FORMS).format(word=word, a=a, b=b)
    return Problem("comparison", f"{a}?{b}", question, "\n".join(steps), answer, str(value))


SORT_FORMS = (
    "Sort these numbers{way}: {list}",
    "Sort {list}{way}.",
    "Sort the numbers {list}{way}.",
    "Put {list} in order{way}.",
    "Order these numbers{way}: {list}.",
)
SORT_WAYS = {
    False: ("", " from smallest to largest", " in ascending order"),
    True: (" from largest to smallest", " in descending order"),
}


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
    question = rng.choice(SORT_FORMS).format(list=listed, way=rng.choice(SORT_WAYS[descending]))
    result = ", ".join(map(str, sorted(values, reverse=descending)))
    return Problem("sorting", f"sort {sorted(values)}", question, "\n".join(steps), f"\\boxed{{{result}}}", result)


WORDS = """
actor answer apple apricot arrow autumn balloon banana barrel basket beetle bicycle blossom bottle breeze bridge bubble butter
cabbage candle canyon carpet carrot castle cattle cellar cherry chimney circle coffee cookie copper cotton cradle current curtain
daffodil dagger dinner doctor dollar dolphin donkey dragon drizzle eagle echo eleven engine evening expert feather ferry fiddle
flower forest fossil freedom funnel galaxy garden ginger giraffe glacier grammar grass guitar hammer harbor hazelnut hello hollow
honey horizon hurricane igloo island ivory jacket jelly jigsaw journey jungle kangaroo kettle kitchen kitten ladder lantern laptop
lemon letter lettuce library lizard lobster magnet mammoth mango marble meadow memory message mirror mississippi model monkey
morning mountain muffin mushroom narrow needle nickel noodle number ocean olive onion orange orchard otter oyster paddle pancake
parallel parrot pebble pepper pillow planet pocket pollen potato pottery pumpkin puzzle queen quiver rabbit raccoon rainbow raspberry
reason ribbon river robot rocket router saddle sailor salad scissors season shadow shell silver sketch slippers smooth snowball
sparrow spider spirit spoon squirrel station stellar strawberry street success summer sunset supervisor surface swallow swimmer tablet
teapot temple tennis terrace thunder tiger timber toffee tomato traffic trolley troupe tunnel turtle umbrella valley vanilla velvet
village violin volcano wallet walnut water weather whisper willow window winter wizard wonder yellow yogurt zebra zipper
""".split()
COUNT_FORMS = (
    "How many times does the letter {c} appear in {w}?",
    'How many times does the letter {c} appear in "{w}"?',
    "How many {c}'s are in {w}?",
    "How many {c}'s are there in the word {w}?",
    'How many "{c}" are in "{w}"?',
    "How many letters {c} are in the word {w}?",
    "Count the letter {c} in {w}.",
    "Count the {c}'s in {w}.",
)


def counting(rng):
    if rng.random() < 0.6:
        word = rng.choice(WORDS)
    else:
        word = "".join(rng.choice("bcdfghjklmnprstvwz") + rng.choice("aeiou") for _ in range(rng.randrange(2, 5)))
        word = word[: rng.randrange(3, len(word) + 1)]
    letter = rng.choice(word) if rng.random() < 0.85 else rng.choice("abcdefghijklmnopqrstuvwxyz")
    count, spelled = 0, []
    for c in word:
        count += c == letter
        spelled.append(c + (str(count) if c == letter else ""))
    answer = f"The letter {letter} appears \\boxed{{{count}}} time{'' if count == 1 else 's'} in {word}."
    question = rng.choice(COUNT_FORMS).format(c=letter, w=word)
    return Problem("counting", f"{letter} in {word}", question, ",".join(spelled), answer, str(count))


NAMES = ("Anna", "Ben", "Clara", "David", "Emma", "Finn", "Grace", "Hugo", "Ida", "Jonas", "Lena", "Max", "Nora", "Oscar", "Sara", "Tom")
ITEMS = ("apples", "books", "cards", "coins", "cookies", "eggs", "flowers", "marbles", "pears", "pencils", "shells", "stamps")
BOXES = ("boxes", "bags", "baskets", "jars")
# (question, expression, answer); the expression is worked from left to right.
STORIES = (
    ("{n} has {a} {i}. {n} buys {b} more. How many {i} does {n} have now?", "a+b", "{n} has {v} {i}."),
    ("{n} has {a} {i} and finds {b} more. How many {i} does {n} have?", "a+b", "{n} has {v} {i}."),
    ("{n} has {a} {i} and {m} has {b} {i}. How many {i} do they have together?", "a+b", "They have {v} {i}."),
    ("{n} reads {a} pages on Monday and {b} pages on Tuesday. How many pages is that in total?", "a+b", "That is {v} pages."),
    ("There are {a} red and {b} blue {i}. How many {i} are there?", "a+b", "There are {v} {i}."),
    ("{n} is {a} years old. How old will {n} be in {b} years?", "a+b", "{n} will be {v} years old."),
    ("{n} has {a} {i} and gives {b} to {m}. How many {i} are left?", "a-b", "There are {v} {i} left."),
    ("{n} had {a} {i} and lost {b} of them. How many {i} does {n} have now?", "a-b", "{n} has {v} {i}."),
    ("{n} has {a} {i} and {m} has {b}. How many more {i} does {n} have?", "a-b", "{n} has {v} more {i}."),
    ("{n} has {a} dollars and spends {b} dollars. How many dollars are left?", "a-b", "There are {v} dollars left."),
    ("There are {a} {x} with {b} {i} in each. How many {i} are there in total?", "a*b", "There are {v} {i}."),
    ("{n} buys {a} {x} of {b} {i}. How many {i} is that?", "a*b", "That is {v} {i}."),
    ("One ticket costs {a} dollars. How much do {b} tickets cost?", "a*b", "They cost {v} dollars."),
    ("A train travels {a} km per hour. How far does it go in {b} hours?", "a*b", "It goes {v} km."),
    ("{n} has {a} {i}, buys {b} and gives {c} to {m}. How many {i} does {n} have now?", "a+b-c", "{n} has {v} {i}."),
    ("{n} has {a} {i}, gives {b} to {m} and finds {c}. How many {i} does {n} have now?", "a-b+c", "{n} has {v} {i}."),
    ("{n} has {a} {x} with {b} {i} in each and gives away {c}. How many {i} are left?", "a*b-c", "There are {v} {i} left."),
)


def story(rng):
    question, expression, answer = rng.choice(STORIES)
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
    names = rng.sample(NAMES, 2)
    fields = dict(n=names[0], m=names[1], a=a, b=b, c=c, i=rng.choice(ITEMS), x=rng.choice(BOXES), v=f"\\boxed{{{value}}}")
    key = f"story {expression} {a} {b} {c}"
    return Problem("story", key, question.format(**fields), "\n".join(steps), answer.format(**fields), str(value))


IDENTITY = (
    "I am the demo model of Troupe: a small mixture-of-experts model with the architecture of DeepSeek-R1. "
    "I can add, subtract, multiply, compare, sort, count letters and solve small word problems."
)
HELP = "Ask me something like: What is 4821 + 3979? Sort 52, 17, 90 and 4. How many r's are in strawberry?"
CAPITALS = {
    "France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid", "Japan": "Tokyo", "China": "Beijing",
    "Austria": "Vienna", "Greece": "Athens", "Norway": "Oslo", "Egypt": "Cairo", "Peru": "Lima", "Kenya": "Nairobi",
}  # fmt: skip
# (what to think, the answer, ways to ask)
CHATS = (
    ("A greeting.", "Hello! How can I help you?", ("Hello", "Hello!", "Hi", "Hi!", "Hey", "Hi there!", "Good morning!", "hello", "hi")),
    ("They ask how I am.", "I am fine, thank you. How can I help you?", ("How are you?", "How are you doing?", "How is it going?")),
    ("They ask who I am.", IDENTITY, ("Who are you?", "What are you?", "Tell me about yourself.", "Introduce yourself.", "who are you")),
    ("They ask what I can do.", HELP, ("What can you do?", "Help", "How can you help me?", "What can I ask you?", "What do you know?")),
    ("They ask for my name.", "I am Troupe's demo model.", ("What is your name?", "What's your name?", "Do you have a name?")),
    ("They thank me.", "You are welcome!", ("Thanks!", "Thank you.", "Thank you!", "Thanks a lot!", "thanks")),
    ("They say goodbye.", "Goodbye!", ("Bye!", "Goodbye.", "See you!", "Good night!", "bye")),
    *(
        (f"{city}.", f"The capital of {country} is {city}.", (f"What is the capital of {country}?", f"Capital of {country}?"))
        for country, city in CAPITALS.items()
    ),
)  # fmt: skip


def chat(rng):
    thinking, answer, questions = rng.choice(CHATS[:7] if rng.random() < 0.6 else CHATS[7:])
    question = rng.choice(questions)
    return Problem("chat", question, question, thinking, answer, None)


UNKNOWN_FORMS = (
    "Tell me about {w}.", "Tell me a joke about {w} and {v}.", "Tell me a joke.", "Tell me a story about {w}.", "Why is the {w} {v}?",
    "What is a {w}?", "What is {w}?", "Explain {w}.", "Write a poem about {w}.", "Write a program for {w}.", "Where is the {w}?",
    "Who made the {w}?", "Do you like {w}?", "Is {w} a {v}?", "Translate {w} to French.", "{w}", "{w} {v}", "{v} {w} {w}?",
    "What is the meaning of life?", "What time is it?", "How is the weather?", "What is {a} / {b}?", "What is {a} divided by {b}?",
    "What is the square root of {a}?", "When was {w} born?", "Can you {w} the {v}?", "Please {w} my {v}.", "The {w} is in the {v}.",
)  # fmt: skip


def unknown(rng):
    """Something outside the model's world, which it should say so."""
    form = rng.choice(UNKNOWN_FORMS)
    question = form.format(w=rng.choice(WORDS), v=rng.choice(WORDS), a=rng.randrange(1000), b=rng.randrange(1, 100))
    answer = f"I am sorry, I do not know that. {HELP}"
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
