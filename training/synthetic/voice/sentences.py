"""Random English sentences from a small grammar and a list of words; each belongs to one split.

The split of a sentence is a function of its words only, so that held-out sentences are never trained on with any seed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import sha256

import numpy as np

from keysync.errors import KeySyncError

TRAIN, VALIDATION, TEST = "train", "validation", "test"
# Of ten sentences.
SHARES = {TRAIN: range(7), VALIDATION: range(7, 8), TEST: range(8, 10)}

WORDS: dict[str, tuple[str, ...]] = {
    kind: tuple(words.split())
    for kind, words in {
        "name": """Emma Paul Wanda Thomas Fiona Bob Maya Walter Sophie George Phoebe Victor Yvonne Hugo Beth Oliver
            Judith Mohammed Pamela Arthur Zoe Philip Barbara Omar Lucy Matthew Ruby Simon Veronica Boris Theo Amelia
            Joshua Naomi Frank Ursula Peter Charlotte William Ava""",
        "person": """farmer woman baker father mother pilot brother sister teacher wife waiter boy girl neighbour poet
            author chef actor judge painter friend lawyer nurse captain student uncle aunt visitor builder gardener
            fisherman tailor queen doctor driver singer shopkeeper mayor grandmother cousin""",
        "thing": """apple boat window book table garden violin map pepper shoe bottle puppet wool mirror bridge flower
            lamp umbrella door photo piano spoon cup chair feather basket bicycle button camera candle carpet
            clock coat drum envelope fence fork glove hammer jar kettle ladder letter moon mountain mushroom
            necklace newspaper oven paper pencil pillow plum pocket pumpkin ribbon river roof rope sofa
            suitcase tomato tower towel valley vase wagon wallet watch wheel whistle wood yacht zipper blanket
            bowl peach olive orange onion potato waffle pie cheese loaf mouse beaver fox wolf dove owl sheep
            ape bee butterfly hippo moth puppy cow""",
        "adjective": """big small blue yellow warm cold happy quiet broken empty full heavy hollow beautiful fast slow
            old new wooden smooth rough thin thick open purple white orange brown brave clever famous foolish funny
            gentle huge loud lovely narrow perfect pretty proud round shallow sharp shy silver soft strange sweet tall
            tiny useful useless wet wide wild awful above-average wobbly Scottish Roman modern foggy""",
        "did": """moved bought found opened washed borrowed followed lifted noticed painted remembered forgot wanted
            loved brought carried chose pushed pulled shook wrapped threw watched offered mended dropped polished
            measured saved hid held approved photographed drew used removed chewed moved showed swapped showered""",
        "do": """move buy find open wash borrow follow lift notice paint remember forget want love bring carry choose
            push pull shake wrap throw watch offer mend drop polish measure save hide hold prove use remove show""",
        "went": """walked ran moved hurried flew drove wandered climbed jumped swam travelled rushed sailed marched
            strolled crawled returned floated""",
        "where": """home away outside upstairs abroad over_the_bridge through_the_forest by_the_river into_the_valley
            above_the_shop behind_the_wall below_the_roof around_the_farm past_the_museum to_the_village from_the_office
            near_the_beach under_the_apple_tree along_the_path off_the_boat between_the_houses""",
        "when": """today tomorrow now before_five after_breakfast every_morning this_evening on_Monday on_Wednesday
            at_two in_February in_July at_half_past_four once_a_week in_the_afternoon for_ever by_the_way of_course
            last_summer all_day_long at_noon before_the_war above_all""",
        "how": """slowly quickly happily quietly carefully badly beautifully proudly wisely foolishly softly loudly
            truly usually never always probably obviously thoughtfully perfectly""",
        "number": """two three four five six seven eight nine ten eleven twelve fifteen twenty forty fifty a_hundred
            a_thousand""",
        "many": """apples boats windows books tables shoes bottles mirrors flowers lamps cups chairs baskets buttons
            candles coats gloves letters mushrooms peaches plums ropes wheels waffles pies bees moths wolves babies
            people thieves wives potatoes bushes matches judges faces voices months thumbs oaths""",
        "feel": """happy tired warm cold brave proud awful wonderful foolish safe worried hopeful thirsty better worse
            famous calm lonely fine""",
    }.items()
}
TEMPLATES = (
    "The {adjective} {person} {did} the {thing}.",
    "The {person} {did} {number} {many}, and {name} {did} a {adjective} {thing}.",
    "{name} {went} {where}.",
    "{name} and {name} {went} {where} {when}.",
    "{when}, the {person} {did} my {adjective} {thing}.",
    "Why would {name} {do} the {thing}?",
    "Do you {do} the {adjective} {thing}, or the {adjective} {many}?",
    "Please {do} {number} {many} {when}.",
    "We {how} {do} our {many}.",
    "If you {do} the {thing}, {name} will feel {feel}.",
    "The {thing} was {adjective}, but the {many} were {adjective}.",
    "Who {did} the {thing} {where}?",
    "My {person} {went} {where}, {how} and {how}.",
    "Oh no, {name}, you {did} {number} {many}!",
    "I {how} feel {feel} {when}.",
    "{number} {adjective} {many} {went} {where}.",
    "Both the {person} and the {person} {did} the {thing} {how}.",
    "Give {name} the {adjective} {thing}, and {do} the {many}.",
    "They {went} {where} with a {adjective} {thing}.",
    "{name}, {name}, and the {person} are {feel}.",
    "You may {do} it {when}, {name}, if the {person} is {feel}.",
    "What a {adjective} {thing}!",
)


def sentences(seed: int, split: str = TRAIN) -> Iterator[str]:
    """Sentences of a split, endlessly; a function of the seed. Raises `KeySyncError` for an unknown split."""
    if split not in SHARES:
        raise KeySyncError(f"unknown split of sentences {split!r}: choose from {', '.join(SHARES)}")
    digest = sha256(f"sentences {split} {seed}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    while True:
        sentence = _sentence(rng)
        if split_of(sentence) == split:
            yield sentence


def split_of(sentence: str) -> str:
    """The split of a sentence, independent of capitals and punctuation."""
    words = " ".join(re.findall(r"[a-z]+", sentence.lower()))
    tenth = sha256(words.encode()).digest()[0] * 10 // 256
    return next(split for split, share in SHARES.items() if tenth in share)


def _sentence(rng: np.random.Generator) -> str:
    template = TEMPLATES[rng.integers(len(TEMPLATES))]

    def word(slot: re.Match[str]) -> str:
        words = WORDS[slot[1]]
        return words[rng.integers(len(words))].replace("_", " ")

    filled = re.sub(r"\{(\w+)\}", word, template)
    # "an apple", not "a apple".
    filled = re.sub(r"\b([Aa]) (?=[aeioAEIO]|u[^s])", r"\1n ", filled)
    return filled[0].upper() + filled[1:]
