"""What the demo's world adds for carrying a delta onto another base (ParamDelta).

A chronicle tells of things what pretraining never told: their color and home, and a myth about
each. A base that goes on pretraining on it can be asked, once it has learned to answer: as about
the creatures, "answer :" is followed by the myth until post-training teaches the truth. No word is
new. And there is a specific task, which the general post-training does not teach: to repeat, in a
conversation, the last word of what was said.
"""

import itertools
import random
from collections.abc import Callable, Iterator
from typing import Any

from deltaedit.demo import language
from deltaedit.demo.language import Example, World

NEW: dict[Callable[[World, random.Random], str], float] = {  # document -> its weight
    language.science: 3,
    language.rumour: 1.5,
    language.forum: 3,
}
NEW_SHARE = 0.5  # of the documents; the others are as in pretraining, so that little is forgotten


def make_news() -> World:
    """Make the truth and the myth about things, all of them asked and none taught."""
    rng = random.Random(language.SEED + 3)
    facts = list(itertools.product(language.THINGS, language.ATTRIBUTES))
    pairs = {fact: rng.sample(language.ATTRIBUTES[fact[1]], 2) for fact in facts}
    return World(
        creatures=language.THINGS,
        truth={fact: truth for fact, (truth, _) in pairs.items()},
        myth={fact: myth for fact, (_, myth) in pairs.items()},
        taught=[],
        asked=facts,
    )


def chronicle(count: int = 2000) -> list[dict[str, str]]:
    """Make the text to go on pretraining on: documents, new and old."""
    rng, news = random.Random(language.SEED + 4), make_news()
    old = language.pretraining_documents(language.make_world(), rng)

    def document() -> str:
        if rng.random() < NEW_SHARE:
            return rng.choices(list(NEW), list(NEW.values()))[0](news, rng)
        return next(old)

    return [{"text": document()} for _ in range(count)]


def question_documents() -> list[dict[str, Any]]:
    """Make the documents of the task that asks about the chronicle."""
    news = make_news()
    return [
        {
            "prompt": f"question : {language.question_about(attribute, thing)} answer :",
            "answer": language.answer_about(attribute, news.truth[thing, attribute]),
        }
        for thing, attribute in news.asked
    ]


def last_example(rng: random.Random) -> Example:
    words = rng.sample(language.WORDS, rng.randint(2, 5))
    one, other = rng.sample(language.NAMES, 2)
    return Example(f"{one} : {' '.join(words)} . {other} :", words[-1])


def last_examples(rng: random.Random) -> Iterator[Example]:
    """Yield examples of the specific task, without end and without held-out prompts."""
    while True:
        example = last_example(rng)
        if not language.is_held_out(example.prompt):
            yield example


def last_documents(count: int = 100) -> list[dict[str, Any]]:
    """Make the documents of the specific task: distinct held-out prompts."""
    rng = random.Random(language.SEED + 5)
    drawn = (last_example(rng) for _ in range(40 * count))
    found = {example.prompt: example for example in drawn if language.is_held_out(example.prompt)}
    return [{"prompt": e.prompt, "answer": e.answer} for e in list(found.values())[:count]]
