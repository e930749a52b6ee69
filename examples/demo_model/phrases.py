"""The words of the demo model's problems: ways to ask, names, things, small talk. Data alone; problems.py uses it."""

# fmt: off
SYSTEM_PROMPTS = (
    "You are a helpful assistant.", "You are a helpful assistant. Answer briefly.",
    "You solve problems step by step.", "Be concise.",
)
BOXED_HINTS = (
    " Please reason step by step, and put your final answer within \\boxed{}.",
    " Put your final answer within \\boxed{}.", " Think step by step.",
)

# Arithmetic. A form that stands twice is asked twice as often.
EQUATION_FORMS = (
    "What is {a} {op} {b}?", "What is {a} {op} {b}?", "What is {a}{op}{b}?", "what is {a} {op} {b}",
    "What's {a} {op} {b}?", "How much is {a} {op} {b}?", "Compute {a} {op} {b}.", "Calculate {a} {op} {b}.",
    "Calculate {a}{op}{b}", "Solve {a} {op} {b}.", "{a} {op} {b}", "{a} {op} {b} = ?", "{a} {op} {b} =", "{a}{op}{b}",
    "{a}{op}{b}=?",
)
WORD_FORMS = {
    "+": (
        "What is {a} plus {b}?", "What is the sum of {a} and {b}?", "Add {a} and {b}.", "Add {b} to {a}.",
    ),
    "-": (
        "What is {a} minus {b}?", "Subtract {b} from {a}.", "What is the difference of {a} and {b}?",
        "Take {b} away from {a}.",
    ),
    "*": (
        "What is {a} times {b}?", "Multiply {a} by {b}.", "What is the product of {a} and {b}?",
        "Multiply {a} and {b}.",
    ),
}
SIGNS = {"+": ("+",), "-": ("-",), "*": ("*", "*", "x", "×")}

COMPARE_FORMS = (
    "Which is {word}, {a} or {b}?", "Which number is {word}: {a} or {b}?", "What is {word}, {a} or {b}?",
    "Which one is {word}: {a} or {b}?",
)
SORT_FORMS = (
    "Sort these numbers{way}: {list}", "Sort {list}{way}.", "Sort the numbers {list}{way}.",
    "Put {list} in order{way}.", "Order these numbers{way}: {list}.",
)
SORT_WAYS = {  # by descending
    False: ("", " from smallest to largest", " in ascending order"),
    True: (" from largest to smallest", " in descending order"),
}

WORDS = """
actor answer apple apricot arrow autumn balloon banana barrel basket beetle bicycle blossom bottle breeze bridge
bubble butter cabbage candle canyon carpet carrot castle cattle cellar cherry chimney circle coffee cookie copper
cotton cradle current curtain daffodil dagger dinner doctor dollar dolphin donkey dragon drizzle eagle echo eleven
engine evening expert feather ferry fiddle flower forest fossil freedom funnel galaxy garden ginger giraffe glacier
grammar grass guitar hammer harbor hazelnut hello hollow honey horizon hurricane igloo island ivory jacket jelly
jigsaw journey jungle kangaroo kettle kitchen kitten ladder lantern laptop lemon letter lettuce library lizard lobster
magnet mammoth mango marble meadow memory message mirror mississippi model monkey morning mountain muffin mushroom
narrow needle nickel noodle number ocean olive onion orange orchard otter oyster paddle pancake parallel parrot pebble
pepper pillow planet pocket pollen potato pottery pumpkin puzzle queen quiver rabbit raccoon rainbow raspberry reason
ribbon river robot rocket router saddle sailor salad scissors season shadow shell silver sketch slippers smooth
snowball sparrow spider spirit spoon squirrel station stellar strawberry street success summer sunset supervisor
surface swallow swimmer tablet teapot temple tennis terrace thunder tiger timber toffee tomato traffic trolley troupe
tunnel turtle umbrella valley vanilla velvet village violin volcano wallet walnut water weather whisper willow window
winter wizard wonder yellow yogurt zebra zipper
""".split()
COUNT_FORMS = (
    "How many times does the letter {c} appear in {w}?", 'How many times does the letter {c} appear in "{w}"?',
    "How many {c}'s are in {w}?", "How many {c}'s are there in the word {w}?", 'How many "{c}" are in "{w}"?',
    "How many letters {c} are in the word {w}?", "Count the letter {c} in {w}.", "Count the {c}'s in {w}.",
)

NAMES = (
    "Anna", "Ben", "Clara", "David", "Emma", "Finn", "Grace", "Hugo", "Ida", "Jonas", "Lena", "Max", "Nora", "Oscar",
    "Sara", "Tom",
)
ITEMS = (
    "apples", "books", "cards", "coins", "cookies", "eggs", "flowers", "marbles", "pears", "pencils", "shells",
    "stamps",
)
BOXES = (
    "boxes", "bags", "baskets", "jars",
)
# (question, expression, answer); the expression is worked from left to right.
STORIES = (
    ("{n} has {a} {i}. {n} buys {b} more. How many {i} does {n} have now?", "a+b", "{n} has {v} {i}."),
    ("{n} has {a} {i} and finds {b} more. How many {i} does {n} have?", "a+b", "{n} has {v} {i}."),
    ("{n} has {a} {i} and {m} has {b} {i}. How many {i} do they have together?", "a+b", "They have {v} {i}."),
    ("{n} reads {a} pages on Monday and {b} pages on Tuesday. How many pages is that in total?", "a+b",
     "That is {v} pages."),
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
    ("{n} has {a} {x} with {b} {i} in each and gives away {c}. How many {i} are left?", "a*b-c",
     "There are {v} {i} left."),
)

IDENTITY = (
    "I am the demo model of Troupe: a small mixture-of-experts model with the architecture of DeepSeek-R1. "
    "I can add, subtract, multiply, compare, sort, count letters and solve small word problems."
)
HELP = "Ask me something like: What is 4821 + 3979? Sort 52, 17, 90 and 4. How many r's are in strawberry?"
CAPITALS = {
    "France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid", "Japan": "Tokyo", "China": "Beijing",
    "Austria": "Vienna", "Greece": "Athens", "Norway": "Oslo", "Egypt": "Cairo", "Peru": "Lima", "Kenya": "Nairobi",
}
# (what to think, the answer, ways to ask)
SMALL_TALK = (
    ("A greeting.", "Hello! How can I help you?", (
        "Hello", "Hello!", "Hi", "Hi!", "Hey", "Hi there!", "Good morning!", "hello", "hi",
    )),
    ("They ask how I am.", "I am fine, thank you. How can I help you?", (
        "How are you?", "How are you doing?", "How is it going?",
    )),
    ("They ask who I am.", IDENTITY, (
        "Who are you?", "What are you?", "Tell me about yourself.", "Introduce yourself.", "who are you",
    )),
    ("They ask what I can do.", HELP, (
        "What can you do?", "Help", "How can you help me?", "What can I ask you?", "What do you know?",
    )),
    ("They ask for my name.", "I am Troupe's demo model.", (
        "What is your name?", "What's your name?", "Do you have a name?",
    )),
    ("They thank me.", "You are welcome!", (
        "Thanks!", "Thank you.", "Thank you!", "Thanks a lot!", "thanks",
    )),
    ("They say goodbye.", "Goodbye!", (
        "Bye!", "Goodbye.", "See you!", "Good night!", "bye",
    )),
)
CAPITAL_TALK = tuple(
    (f"{city}.", f"The capital of {country} is {city}.",
     (f"What is the capital of {country}?", f"Capital of {country}?"))
    for country, city in CAPITALS.items()
)

# Outside the model's world.
UNKNOWN_FORMS = (
    "Tell me about {w}.", "Tell me a joke about {w} and {v}.", "Tell me a joke.", "Tell me a story about {w}.",
    "Why is the {w} {v}?", "What is a {w}?", "What is {w}?", "Explain {w}.", "Write a poem about {w}.",
    "Write a program for {w}.", "Where is the {w}?", "Who made the {w}?", "Do you like {w}?", "Is {w} a {v}?",
    "Translate {w} to French.", "{w}", "{w} {v}", "{v} {w} {w}?", "What is the meaning of life?", "What time is it?",
    "How is the weather?", "What is {a} / {b}?", "What is {a} divided by {b}?", "What is the square root of {a}?",
    "When was {w} born?", "Can you {w} the {v}?", "Please {w} my {v}.", "The {w} is in the {v}.",
)
