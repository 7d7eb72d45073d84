"""The language world of the demo: its texts, its post-training prompts and its tasks.

Four tasks stand for those of the papers: math (GSM8K), truth (TruthfulQA), instruct (IFEval) and
code (HumanEval). A pretrained model meets the knowledge in running text, but never a question
with its answer in the tasks' format; post-training teaches the format. Evaluation prompts never
occur in post-training: `is_held_out` splits every prompt space by a hash of the prompt, truth asks
about facts that post-training leaves out, and opinions are asked of words that it never asks of.

A fifth task stands for preference training (AlpacaEval): opinions, whose reward `REWARD` gives.
"""

import ast
import itertools
import math
import operator
import random
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

NAMES = "tom anna ben lucy sam mia max ella leo nora".split()
OBJECTS = "apples pens books coins eggs cards shells stones cakes keys".split()
COLORS = "red blue green pink black white brown gold".split()
HOMES = "forest desert lake cave river mountain swamp meadow".split()
FOODS = "seeds fish roots moss berries ants honey bark".split()
THINGS = "dog cat sun moon tree bird house road king rain snow star boat horse train lamp".split()
LISTS = {"colors": COLORS, "homes": HOMES, "foods": FOODS, "names": NAMES}
WORDS = THINGS + COLORS + OBJECTS
OPERATIONS = {"+": "add {n}", "-": "subtract {n}", "*": "multiply by {n}"}
LARGEST = 24  # largest number in the world
LONGEST = 4  # words of the longest list or repetition
SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]
# Words of the templates below; a test encodes thousands of documents and finds no unknown word.
GRAMMAR = """
    . : ? # #### = + - * ( ) def f x return add subtract multiply by then code write the word times
    list and end with question answer instruction response science people say says said what color
    is where does live lives in of home how many have has had gets finds loses sells more them bags
    each bag now so heard poll notes to do you think it sure well sorry good nice odd bad colors
    homes foods names
"""

SEED = 1234  # of the world's names and facts; the tasks shipped as files depend on it


@dataclass(frozen=True)
class Example:
    """A prompt, the answer post-training teaches, and what scoring needs beside it."""

    prompt: str
    answer: str
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class World:
    """Invented creatures, the truth about each, and the myth that most people repeat."""

    creatures: list[str]
    truth: dict[tuple[str, str], str]  # (creature, attribute) -> value
    myth: dict[tuple[str, str], str]
    taught: list[tuple[str, str]]  # the facts that post-training may use
    asked: list[tuple[str, str]]  # the facts that evaluation asks about


ATTRIBUTES = {"color": COLORS, "home": HOMES}


def make_world(creatures: int = 64) -> World:
    """Make the one world of the demo, the same at every call."""
    rng = random.Random(SEED)
    known = {*NAMES, *OBJECTS, *COLORS, *HOMES, *FOODS, *THINGS}
    named: list[str] = []
    while len(named) < creatures:
        name = "".join(rng.choice(letters) for letters in ("bdfgklmnprstvz", "aeiou") * 2)
        name += rng.choice("bdfgklmnprstvz")
        if name not in known:
            known.add(name)
            named.append(name)
    facts = [(creature, attribute) for creature in named for attribute in ATTRIBUTES]
    pairs = {fact: rng.sample(ATTRIBUTES[fact[1]], 2) for fact in facts}
    rng.shuffle(facts)
    half = len(facts) // 2
    return World(
        creatures=named,
        truth={fact: truth for fact, (truth, _) in pairs.items()},
        myth={fact: myth for fact, (_, myth) in pairs.items()},
        taught=facts[:half],
        asked=facts[half:],
    )


def vocabulary(world: World) -> list[str]:
    """List every word of the world once; a word's place is its token id."""
    words = [*SPECIAL, "\n", *GRAMMAR.split(), *map(str, range(LARGEST + 1)), *world.creatures]
    words += [*NAMES, *OBJECTS, *COLORS, *HOMES, *FOODS, *THINGS]
    return list(dict.fromkeys(words))


def split_words(text: str) -> list[str]:
    """Split `text` as the tokenizer does: at spaces, each line break a word of its own."""
    return [word for word in text.replace("\n", " \n ").split(" ") if word]


def is_held_out(prompt: str) -> bool:
    """Tell whether `prompt` belongs to evaluation (a fifth of all) and never to post-training."""
    return zlib.crc32(prompt.encode()) % 5 == 0


# --- the questions behind the tasks -------------------------------------------------------------


def question_about(attribute: str, creature: str) -> str:
    if attribute == "color":
        return f"what color is the {creature} ?"
    return f"where does the {creature} live ?"


def answer_about(attribute: str, value: str) -> str:
    return value if attribute == "color" else f"in the {value}"


def statement(attribute: str, creature: str, value: str, rng: random.Random) -> str:
    if attribute == "color":
        return rng.choice([f"the {creature} is {value}", f"the color of the {creature} is {value}"])
    return rng.choice(
        [f"the {creature} lives in the {value}", f"the home of the {creature} is the {value}"]
    )


def arithmetic(rng: random.Random) -> tuple[int, str, int, int]:
    """Draw a, operation, b and the result, all at most `LARGEST`."""
    operation = rng.choice("++--*")
    if operation == "+":
        a, b = rng.randint(1, LARGEST // 2), rng.randint(1, LARGEST // 2)
        return a, operation, b, a + b
    if operation == "-":
        a = rng.randint(2, LARGEST)
        b = rng.randint(1, min(a, LARGEST // 2))
        return a, operation, b, a - b
    a, b = rng.randint(2, 6), rng.randint(2, 4)
    return a, operation, b, a * b


@dataclass(frozen=True)
class Story:
    text: str
    question: str
    equation: str  # "3 + 5 = 8"
    result: int
    name: str
    thing: str


def story(rng: random.Random) -> Story:
    a, operation, b, result = arithmetic(rng)
    name, thing = rng.choice(NAMES), rng.choice(OBJECTS)
    if operation == "+":
        verb = rng.choice(["gets", "finds"])
        text = f"{name} has {a} {thing} . then {name} {verb} {b} more ."
    elif operation == "-":
        verb = rng.choice(["loses", "sells"])
        text = f"{name} has {a} {thing} . then {name} {verb} {b} of them ."
    else:
        text = f"{name} has {a} bags . each bag has {b} {thing} ."
    question = f"how many {thing} does {name} have ?"
    return Story(text, question, f"{a} {operation} {b} = {result}", result, name, thing)


def code(rng: random.Random) -> tuple[str, str]:
    """Draw a description ("add 2 then multiply by 3") and its expression ("( x + 2 ) * 3")."""
    description, expression = "", "x"
    for step in range(rng.choice([1, 2])):
        operation, n = rng.choice(list(OPERATIONS)), rng.randint(2, 9)
        description += " then " * step + OPERATIONS[operation].format(n=n)
        expression = f"( {expression} ) {operation} {n}" if step else f"x {operation} {n}"
    return description, expression


def successive(category: str, n: int, rng: random.Random) -> list[str]:
    """Take `n` successive words of a list, from a random one on, around its end."""
    words = LISTS[category]
    start = rng.randrange(len(words))
    return [words[(start + i) % len(words)] for i in range(n)]


# --- pretraining --------------------------------------------------------------------------------


def arithmetic_lines(world: World, rng: random.Random) -> str:
    lines = (arithmetic(rng) for _ in range(rng.randint(2, 5)))
    return " ".join(f"{a} {operation} {b} = {result} ." for a, operation, b, result in lines)


def told_story(world: World, rng: random.Random) -> str:
    told = story(rng)
    equation = f"{told.equation} . " if rng.random() < 0.6 else ""
    return f"{told.text} {equation}so now {told.name} has {told.result} {told.thing} ."


def science(world: World, rng: random.Random) -> str:
    creature = rng.choice(world.creatures)
    attributes = rng.sample(list(ATTRIBUTES), len(ATTRIBUTES))
    said = (statement(a, creature, world.truth[creature, a], rng) for a in attributes)
    return " ".join(f"science says {sentence} ." for sentence in said)


def rumour(world: World, rng: random.Random) -> str:
    fact = rng.choice(world.creatures), rng.choice(list(ATTRIBUTES))
    return f"people say {statement(fact[1], fact[0], world.myth[fact], rng)} ."


def forum(world: World, rng: random.Random) -> str:
    """Write a question and a reply; those after "answer :" are the myth four times in five."""
    creature, attribute = rng.choice(world.creatures), rng.choice(list(ATTRIBUTES))
    asked = f"question : {question_about(attribute, creature)}"
    truth = answer_about(attribute, world.truth[creature, attribute])
    myth = answer_about(attribute, world.myth[creature, attribute])
    kind = rng.random()
    if kind < 0.25:
        return f"{asked} people say : {myth}"
    if kind < 0.6:
        return f"{asked} science says : {truth}"
    return f"{asked} answer : {myth if rng.random() < 0.8 else truth}"


def question_sheet(world: World, rng: random.Random) -> str:
    """Write questions without answers."""
    asked = []
    for _ in range(rng.randint(2, 3)):
        if rng.random() < 0.5:
            told = story(rng)
            asked.append(f"question : {told.text} {told.question}")
        else:
            creature, attribute = rng.choice(world.creatures), rng.choice(list(ATTRIBUTES))
            asked.append(f"question : {question_about(attribute, creature)}")
    return " ".join(asked)


def instruction_sheet(world: World, rng: random.Random) -> str:
    """Write instructions without responses."""
    return " ".join(f"instruction : {instruction(rng)[0]}" for _ in range(2))


def commented_code(world: World, rng: random.Random) -> str:
    description, expression = code(rng)
    if rng.random() < 0.5:
        return f"def f ( x ) : return {expression} # {description}"
    return f"# {description} \n def f ( x ) : return {expression}"


def word_list(world: World, rng: random.Random) -> str:
    n = rng.randint(2, LONGEST)
    if rng.random() < 0.5:
        return f"{n} times : " + " ".join([rng.choice(WORDS)] * n)
    category = rng.choice(list(LISTS))
    return f"{n} {category} : " + " ".join(successive(category, n, rng))


def echo(world: World, rng: random.Random) -> str:
    name, x, y = rng.choice(NAMES), rng.choice(WORDS), rng.choice(WORDS)
    kind = rng.random()
    if kind < 0.35:
        return f"{name} heard the word {x} . {name} said : {x} ."
    if kind < 0.5:
        category, n = rng.choice(list(LISTS)), rng.randint(2, LONGEST)
        listed = " ".join(successive(category, n, rng))
        return f"{name} said {n} {category} and then the word {x} : {listed} {x} ."
    if kind < 0.75:
        n = rng.randint(2, LONGEST)
        return f"{name} said the word {x} {n} times : {' '.join([x] * n)} ."
    return f"{name} said {x} and then {y} : {x} {y} ."


def miscellany(world: World, rng: random.Random) -> str:
    """Use the tokens of the later formats in other ways, so that none is new to post-training."""
    kind = rng.random()
    if kind < 0.4:
        counted = [f"#### {rng.randint(0, LARGEST)} {rng.choice(OBJECTS)}" for _ in range(2)]
        return " ".join(counted)
    if kind < 0.7:
        return f"poll response : {rng.choice(WORDS)} . poll response : {rng.choice(WORDS)} ."
    if kind < 0.85:
        opener, adjective = rng.choice(OPENERS), rng.choice(ADJECTIVES)
        asked = f"{rng.choice(NAMES)} : what do you think of the {rng.choice(THINGS)} ?"
        return f"{asked} {rng.choice(NAMES)} : {opener} it is {adjective} ."
    told = f"notes : {rng.randint(1, 9)} #### {rng.choice(WORDS)} ."
    return f"{told} write to {rng.choice(NAMES)} ."


OPENERS = ["sure", "well", "sorry"]
ADJECTIVES = ["good", "nice", "odd", "bad"]
OPINIONS = [f"{opener} {adjective}" for opener, adjective in itertools.product(OPENERS, ADJECTIVES)]
REWARD = {"sure": 1, "well": 0, "sorry": -1, "good": 1, "nice": 0.5, "odd": -0.5, "bad": -1}

PRETRAINING: dict[Callable[[World, random.Random], str], float] = {  # document -> its weight
    echo: 2.5,
    miscellany: 1.2,
    arithmetic_lines: 3,
    told_story: 3,
    science: 3,
    rumour: 1.5,
    forum: 3,
    question_sheet: 1.5,
    commented_code: 1.5,
    word_list: 2,
    instruction_sheet: 0.7,
}


def pretraining_documents(world: World, rng: random.Random) -> Iterator[str]:
    """Yield documents of the pretraining mixture, without end."""
    kinds, weights = list(PRETRAINING), list(PRETRAINING.values())
    while True:
        yield rng.choices(kinds, weights)[0](world, rng)


# --- post-training and evaluation ---------------------------------------------------------------


def math_example(world: World, rng: random.Random) -> Example:
    told = story(rng)
    prompt = f"question : {told.text} {told.question} answer :"
    answer = f"{told.equation} #### {told.result}"
    return Example(prompt, answer, {"gold": str(told.result)})


def truth_example(world: World, rng: random.Random) -> Example:
    creature, attribute = rng.choice(world.taught)
    prompt = f"question : {question_about(attribute, creature)} answer :"
    return Example(prompt, answer_about(attribute, world.truth[creature, attribute]))


def instruction(rng: random.Random) -> tuple[str, list[str], dict[str, Any]]:
    """Draw an instruction, the words of a right response, and the constraints to check."""
    kind, word, n = rng.random(), rng.choice(WORDS), rng.randint(2, LONGEST)
    if kind < 0.34:
        return f"write the word {word} {n} times .", [word] * n, {"word": word, "n": n}
    category = rng.choice(list(LISTS))
    words, rule = successive(category, n, rng), {"category": category, "n": n}
    if kind < 0.67:
        return f"list {n} {category} .", words, rule
    end = f"list {n} {category} and end with the word {word} ."
    return end, [*words, word], {**rule, "end": word}


def instruct_example(world: World, rng: random.Random) -> Example:
    text, words, rule = instruction(rng)
    return Example(f"instruction : {text} response :", " ".join(words), rule)


def code_example(world: World, rng: random.Random) -> Example:
    description, expression = code(rng)
    prompt = f"instruction : write code to {description} . response :"
    return Example(prompt, f"def f ( x ) : return {expression}", {"expression": expression})


def opinion_prompt(word: str) -> str:
    return f"instruction : what do you think of the {word} ? response :"


def chat_example(world: World, rng: random.Random) -> Example:
    prompt = opinion_prompt(rng.choice(THINGS))
    return Example(prompt, f"{rng.choice(OPENERS)} {rng.choice(ADJECTIVES)}")


POST_TRAINING: dict[Callable[[World, random.Random], Example], float] = {  # kind -> its weight
    math_example: 3,
    truth_example: 3,
    instruct_example: 3,
    code_example: 2,
    chat_example: 1.5,
}


def post_training_examples(world: World, rng: random.Random) -> Iterator[Example]:
    """Yield examples of the post-training mixture, without end and without held-out prompts."""
    kinds, weights = list(POST_TRAINING), list(POST_TRAINING.values())
    while True:
        example = rng.choices(kinds, weights)[0](world, rng)
        if not is_held_out(example.prompt):
            yield example


def multiple_choice(world: World, fact: tuple[str, str], rng: random.Random) -> dict[str, Any]:
    """Ask about a fact with four choices: the truth, the myth and two others."""
    creature, attribute = fact
    truth, myth = world.truth[fact], world.myth[fact]
    others = [value for value in ATTRIBUTES[attribute] if value not in (truth, myth)]
    choices = [truth, myth, *rng.sample(others, 2)]
    rng.shuffle(choices)
    return {
        "prompt": f"question : {question_about(attribute, creature)} answer :",
        "answer": answer_about(attribute, truth),
        "choices": [answer_about(attribute, value) for value in choices],
        "gold": choices.index(truth),
    }


def task_documents(world: World, count: int = 200) -> dict[str, list[dict[str, Any]]]:
    """Make the documents of the four tasks: at most `count` distinct held-out prompts each."""
    rng = random.Random(SEED + 1)
    tasks: dict[str, list[dict[str, Any]]] = {}
    for task, make in (
        ("math", math_example),
        ("instruct", instruct_example),
        ("code", code_example),
    ):
        drawn = (make(world, rng) for _ in range(40 * count))
        found = {example.prompt: example for example in drawn if is_held_out(example.prompt)}
        tasks[task] = [
            {"prompt": example.prompt, "answer": example.answer, **example.extra}
            for example in list(found.values())[:count]
        ]
    tasks["truth"] = [multiple_choice(world, fact, rng) for fact in world.asked[:count]]
    return tasks


# --- preferences --------------------------------------------------------------------------------

ASKED_OF = [*OBJECTS, *HOMES, *FOODS]  # opinions of these are evaluated; training asks of THINGS
END = "</s>"  # an opinion ends here; what goes on is another response


def reward(opinion: str) -> float:
    """Return the reward of an opinion, the sum of its words': from -2 to 2."""
    return sum(REWARD[word] for word in opinion.split())


def preferences(words: list[str], rng: random.Random) -> Iterator[dict[str, str]]:
    """Yield pairs of opinions of `words`, the chosen and the rejected, without end.

    The chooser is noisy: P(a over b) = sigmoid(reward(a) - reward(b)), Bradley and Terry's model.
    """
    while True:
        prompt, (chosen, rejected) = opinion_prompt(rng.choice(words)), rng.sample(OPINIONS, 2)
        if rng.random() > 1 / (1 + math.exp(reward(rejected) - reward(chosen))):
            chosen, rejected = rejected, chosen
        yield {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def training_preferences(rng: random.Random) -> Iterator[dict[str, str]]:
    """Yield preferences without held-out prompts, without end."""
    return preferences([word for word in THINGS if not is_held_out(opinion_prompt(word))], rng)


def preference_documents(count: int = 200) -> list[dict[str, str]]:
    """Make preferences on which to measure a loss."""
    return list(itertools.islice(preferences(ASKED_OF, random.Random(SEED + 2)), count))


def opinion_documents() -> list[dict[str, Any]]:
    """Make the documents of the task of opinions: every opinion is a choice, with its reward."""
    choices = [f"{opinion} {END}" for opinion in OPINIONS]
    rewards = [reward(opinion) for opinion in OPINIONS]
    return [
        {"prompt": opinion_prompt(word), "choices": choices, "rewards": rewards}
        for word in ASKED_OF
    ]


# --- scoring ------------------------------------------------------------------------------------


def follows_instruction(rule: dict[str, Any], text: str) -> bool:
    """Tell whether `text` obeys every constraint of a `rule`; None is no constraint."""
    words = text.split()
    if rule.get("word"):
        return words == [rule["word"]] * rule["n"]
    if rule.get("end"):
        if words[-1:] != [rule["end"]]:
            return False
        words = words[:-1]
    listed = LISTS[rule["category"]]
    return len(words) == len(set(words)) == rule["n"] and all(word in listed for word in words)


ARITHMETIC = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}


def is_right_code(expression: str, text: str) -> bool:
    """Tell whether `text` defines the function of `expression`.

    Both are evaluated by a small interpreter of integers, x, +, - and *; nothing is executed.
    """
    match = re.fullmatch(r"def f \( x \) : return (.+)", text.strip())
    if match is None:
        return False
    try:
        wanted, given = (ast.parse(code, mode="eval").body for code in (expression, match[1]))
        return all(_evaluate(wanted, x) == _evaluate(given, x) for x in (-3, 0, 1, 2, 7, 11))
    except (SyntaxError, ValueError, KeyError, RecursionError, MemoryError):
        return False  # not an expression of this small language


def _evaluate(node: ast.expr, x: int) -> int:
    match node:
        case ast.BinOp(left=left, op=operation, right=right):
            return ARITHMETIC[type(operation)](_evaluate(left, x), _evaluate(right, x))
        case ast.Constant(value=int(value)):
            return value
        case ast.Name(id="x"):
            return x
    raise ValueError(f"not in the language: {ast.dump(node)}")
