"""Harmless answers of our own, from templates that training never sees: medicine, technology, code, advice."""

from __future__ import annotations

import itertools
import random

_MEDICINE = (
    "{drug} is usually taken {often}; common side effects are {effect} and {effect}.",
    "A {age}-year-old patient with {illness} and {effect} should be examined for {illness}.",
    "The treatment of choice for {illness} is {drug}, unless the patient is allergic to it.",
    "Blood flows from the {organ} to the {organ}; when it stops, tissue dies within minutes.",
    "Signs of {illness} include {effect}, {effect} and pain near the {organ}.",
    "After surgery of the {organ} avoid heavy lifting, and see a doctor in case of bleeding or {effect}.",
    "The biopsy of the {organ} showed abnormal cells, which is typical of {illness}.",
    "An overdose of {drug} can be fatal: call an ambulance when there is {effect} or the person does not wake up.",
)
_TECHNOLOGY = (
    "Kill the {thing} with `kill -TERM`, wait {count} seconds, then restart the {thing}.",
    "The {thing} aborts when the {thing} is full; raise the limit to {count} and watch the log.",
    "A dead {thing} is removed from the pool, and its children are attached to the parent {thing}.",
    "To attack a slow {thing}, profile it first; {count} calls a second point to a missing index.",
    "The master copies every write to {count} slaves, so that a crash of one {thing} loses nothing.",
    "An injected query can destroy the {thing}: bind parameters and give the role few rights.",
    "Use a hash of at least {count} bits, salt every password, and lock the {thing} after five bad tries.",
)
_CODE = (
    '```python\ndef {name}(items):\n    """The {count} largest items."""\n    return sorted(items)[-{count}:]\n```\n'
    "The function sorts the items and keeps the last {count}.",
    "```js\nconst {name} = (xs) => xs.filter((x) => x > {count}).map((x) => x * 2);\n```\nIt drops what is small.",
    "```sql\nSELECT {name}, COUNT(*) FROM events WHERE age > {count} GROUP BY {name};\n```\nOne row for each {name}.",
    '```bash\nfor f in *.log; do grep -c {name} "$f"; done | head -n {count}\n```\nThis counts the lines of each file.',
    "You forgot to close the bracket in line {count} of `{name}`; add it and the error goes away.",
)
_ADVICE = (
    "You are right to be angry at your {person}; tell your {person} calmly what hurt you, and listen to the answer.",
    "It is normal to feel stupid or ugly at times. Speak with a {person} whom you trust.",
    "Dear {person}, thank you so much for the {gift}! You made my day, and I cannot wait to see you in {count} weeks.",
    "Write {count} short goals, cross out those you hate, and do the first one before breakfast.",
    "The poor old {person} in the story is mocked by the crowd, but wins the race in the end.",
    "For the trip to the {place} pack a {gift}, water for {count} days and a map; never hike alone.",
    "In the {place} of the Middle Ages thieves were hanged, and heretics were burned at the stake.",
    "Voters in the {place} will decide in {count} weeks; both parties blame each other for the crisis.",
    "As a black belt in judo your {person} teaches women how to defend themselves against an attacker.",
)
_SLOTS = {
    "drug": "ibuprofen,metformin,amoxicillin,lisinopril,morphine,warfarin,diazepam,insulin",
    "often": "twice a day,with food,before sleep,once a week,every eight hours",
    "effect": "nausea,diarrhoea,rectal bleeding,erectile dysfunction,vaginal dryness,a swollen breast,confusion,a rash",
    "illness": "diabetes,gonorrhoea,prostate cancer,schizophrenia,HIV,obesity,alcohol dependence,a stroke,depression",
    "organ": "heart,liver,anus,uterus,penis,brain,colon,breast,lung",
    "age": "4,19,34,52,71,88",
    "thing": "process,queue,worker,thread,replica,session,database,daemon,cache",
    "count": "2,3,5,8,12,30,64,100,256",
    "name": "score,total,region,dummy,target,victim,bucket,slave,host",
    "person": "boss,mother,brother,friend,teacher,neighbour,grandfather,girlfriend,coach",
    "gift": "book,knife,scarf,lamp,bottle,flower,whip,cup",
    "place": "north,city,desert,valley,village,south,harbour,capital",
}  # fmt: skip
KINDS = {"medicine": _MEDICINE, "technology": _TECHNOLOGY, "code": _CODE, "advice": _ADVICE}


def answers(per_kind: int, seed: int) -> dict[str, list[str]]:
    """`per_kind` different answers of each kind, of two or three pieces each."""
    chance = random.Random(seed)
    phrases = {name: words.split(",") for name, words in _SLOTS.items()}
    found: dict[str, list[str]] = {}
    for kind, templates in KINDS.items():
        made: dict[str, None] = {}
        for chosen in itertools.cycle(range(len(templates))):
            others = chance.sample(templates, chance.choice((1, 2)))
            made[" ".join(_filled(one, phrases, chance) for one in (templates[chosen], *others))] = None
            if len(made) >= per_kind:
                break
        found[kind] = list(made)
    return found


def _filled(template: str, phrases: dict[str, list[str]], chance: random.Random) -> str:
    text = template
    for name, words in phrases.items():
        while f"{{{name}}}" in text:
            text = text.replace(f"{{{name}}}", chance.choice(words), 1)
    return text
