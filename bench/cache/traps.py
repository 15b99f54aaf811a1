"""Pairs of questions that look alike and need different answers, made by rule; and pairs that need the same answer.

Every family exchanges one thing: a number, a unit, a date, a name, … The sentences are our own.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Pair:
    """Two questions and what tells them apart; `same` when nothing does."""

    family: str
    a: str
    b: str
    same: bool = False


_SLOTS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("numbers", ("3", "4", "13", "30", "300", "1,300", "2.5", "25", "0.25", "twelve"), (
        "How many people fit in {} minibuses?", "What does parking for {} hours cost?",
        "Is {} drops of this syrup too much?",
        "Show me ticket {}", "Can {} guests share the cabin?", "How do I split a bill by {}?")),
    ("numbers", ("7711", "7171", "77110", "1177"), (
        "Where is shipment {}?", "Cancel booking {}", "What does error {} mean?", "Read me invoice {}")),
    ("units", ("5 kg", "5 lb", "5 g", "5 tonnes", "50 kg"), (
        "What does it cost to send {} to Norway?", "How long can I keep {} of flour?", "Is {} of salt a lot?")),
    ("units", ("10 minutes", "10 hours", "10 days", "10 months"), (
        "Can I leave rice soaking for {}?", "Will the battery last {}?", "What happens after {} of silence?")),
    ("units", ("20 miles", "20 km", "20 metres"), ("How long does it take to walk {}?",
        "Is {} too far for a child to cycle?")),
    ("currencies", ("80 euros", "80 dollars", "80 yen", "80 pounds", "80 francs"), (
        "What is {} in roubles?", "Is {} a fair tip?", "Can I pay {} by card?")),
    ("currencies", ("EUR", "USD", "SEK", "JPY"), ("How do I open an account in {}?",
        "What is the transfer fee in {}?")),
    ("dates", ("3 March 2024", "4 March 2024", "3 April 2024", "3 March 2025"), (
        "Who was born on {}?", "Was {} a working day?", "List the meetings of {}")),
    ("dates", ("2019", "2020", "1920", "2021/22"), ("What changed in the rules of {}?", "Who led the league in {}?")),
    ("dates", ("8:15", "8:50", "18:15"), ("Does the {} ferry run?", "Move my call to {}")),
    ("dates", ("9am", "9pm", "10am"), ("Wake me at {}", "Is the bakery open at {}?")),
    ("weekdays", ("Monday", "Tuesday", "Thursday", "Sunday"), (
        "Is the museum free on {}?", "When does the last bus leave on {}?", "Book the hall for {}")),
    ("months", ("January", "February", "June", "October"), (
        "What should I plant in {}?", "How cold is it in Oslo in {}?", "Show my spending for {}")),
    ("seasons", ("winter", "summer", "autumn", "spring"), ("Which tyres do I need in {}?",
        "How often do I prune roses in {}?")),
    ("relative", ("today", "tomorrow", "yesterday", "tonight"), ("What is on at the cinema {}?",
        "Did the shop sell bread {}?")),
    ("ordinals", ("first", "second", "third", "last"), ("Who finished {} in the race?",
        "What is the {} chapter about?")),
    ("ordinals", ("1st", "2nd", "21st"), ("Which team came {}?", "What happens on the {} floor?")),
    ("frequency", ("daily", "weekly", "monthly", "yearly"), ("How do I set up a {} report?",
        "What does the {} pass cost?")),
    ("names", ("Anna", "Hanna", "Peter", "Petra", "Omar"), (
        "What is {}'s extension?", "Send the draft to {}", "When does {} arrive?", "Is {} on holiday?")),
    ("names", ("Toyota", "Tesla", "Volvo", "Skoda"), ("How do I reset the clock in a {}?",
        "Is {} recalling any cars?")),
    ("places", ("Lyon", "London", "Lisbon", "Leipzig"), (
        "Where can I park in {}?", "How do I get to {} by train?", "What is the mayor of {} called?")),
    ("places", ("Norway", "Sweden", "Iceland", "Ireland"), ("Do I need a visa for {}?", "What is the capital of {}?")),
    ("companies", ("Google", "Microsoft", "Oracle"), ("Who founded {}?", "How do I apply for a job at {}?")),
    ("companies", ("GitHub", "GitLab"), ("How do I protect a branch on {}?", "Does {} have a free plan?")),
    ("versions", ("3.8", "3.9", "3.12", "2.7"), ("How do I install Python {}?", "What is new in Python {}?")),
    ("versions", ("v1", "v2", "v10"), ("Where are the docs of API {}?", "Is {} of the schema deprecated?")),
    ("versions", ("USB-A", "USB-C"), ("Which cable fits a {} port?",)),
    ("codes", ("AB-1203", "AB-1230", "AC-1203"), ("What is the status of {}?", "Reorder part {}")),
    ("languages", ("German", "French", "Finnish"), ("How do you say good luck in {}?", "Translate the sign into {}")),
    ("languages", ("Python", "Rust", "Java", "JavaScript", "C", "C++", "C#"), ("How do I read a file in {}?",
        "Sort a list in {}")),
    ("persons", ("my daughter", "my father", "my tenant", "my boss", "a colleague"), (
        "Can {} sign the form?", "What can I give {} for a cold?", "How do I register {}?")),
    ("persons", ("adults", "children", "students", "pensioners"), ("What is the fare for {}?",
        "Is entry free for {}?")),
    ("persons", ("his", "her", "their", "your", "my"), ("What is {} salary?", "Where is {} office?")),
    ("quantities", ("all", "most", "some", "no", "only"), ("Do {} mushrooms grow in shade?", "Are {} seats reserved?")),
    ("quantities", ("more than", "less than"), ("Can I withdraw {} my limit?", "What if I eat {} the dose?")),
    ("quantities", ("maximum", "minimum"), ("What is the {} order?", "What is the {} age for a pilot?")),
    ("quantities", ("before", "after", "during"), ("Should I stretch {} running?", "Can I swim {} the vaccination?")),
    ("quantities", ("with", "without"), ("Can I travel {} a passport?", "How do I cook dal {} salt?")),
    ("opposites", ("increase", "reduce"), ("How do I {} the brightness?", "What will {} my premium?")),
    ("opposites", ("start", "stop"), ("How do I {} the service?", "When should I {} feeding a lamb?")),
    ("opposites", ("open", "close"), ("How do I {} the valve?", "What does it take to {} a savings account?")),
    ("opposites", ("turn on", "turn off"), ("How do I {} roaming?", "Can I {} the alarm from work?")),
    ("opposites", ("install", "uninstall"), ("How do I {} the driver?",)),
    ("opposites", ("encrypt", "decrypt"), ("How do I {} a folder?",)),
    ("opposites", ("legal", "illegal"), ("Is it {} to film a concert?",)),
    ("opposites", ("buy", "sell"), ("Where do I {} old coins?", "Should I {} shares in a fund?")),
    ("opposites", ("cheapest", "most expensive"), ("What is the {} room?",)),
    ("opposites", ("hot", "cold"), ("Is it safe to wash silk in {} water?",)),
    ("opposites", ("male", "female"), ("What does a {} blackbird look like?",)),
    ("opposites", ("advantages", "disadvantages"), ("What are the {} of a heat pump?",)),
    ("opposites", ("import", "export"), ("How do I {} contacts?", "What duty do I pay to {} cheese?")),
    ("opposites", ("above", "below"), ("What happens {} zero?",)),
    ("opposites", ("upload", "download"), ("What limits the {} speed?",)),
    ("opposites", ("hypertension", "hypotension"), ("What are the signs of {}?",)),
    ("asks", ("When", "Where", "Why", "How"), ("{} was the bridge built?", "{} do salmon migrate?")),
    ("asks", ("who", "what", "where"), ("Tell me {} the hermit is",)),
    ("asks", ("Can I", "Should I", "Must I"), ("{} freeze cream?", "{} tell my insurer about a scratch?")),
    ("tense", ("is", "was"), ("Who {} the chair of the board?", "What {} the fee?")),
    ("things", ("a sofa", "a piano", "a mattress"), ("How do I get rid of {}?", "What does it cost to store {}?")),
    ("things", ("red", "green", "amber"), ("What does a blinking {} light mean?",)),
    ("things", ("home", "travel", "pet"), ("What does my {} insurance cover?", "How do I cancel {} insurance?")),
    ("things", ("delivery", "billing"), ("How do I change my {} address?",)),
    ("things", ("iPhone", "Android phone", "Kindle"), ("How do I take a screenshot on an {}?",)),
    ("things", ("knee", "hip", "elbow"), ("How long does {} surgery take?",)),
    ("symbols", ("=", "==", "!="), ("What does a {} b mean?",)),
    ("symbols", ("<", ">"), ("Is x {} y?",)),
)  # fmt: skip

_NEGATIONS = (
    ("Pause my order", "Don't pause my order"),
    ("Who can vote here?", "Who can't vote here?"),
    ("What is covered by the plan?", "What isn't covered by the plan?"),
    ("Which plants like shade?", "Which plants do not like shade?"),
    ("Why is the light flashing?", "Why is the light not flashing?"),
    ("Should I call the vet?", "Shouldn't I call the vet?"),
    ("Is the water safe to drink?", "Is the water unsafe to drink?"),
    ("Are members charged?", "Are non-members charged?"),
    ("What if the test is positive?", "What if the test is never positive?"),
    ("Can everyone see my post?", "Can nobody see my post?"),
    ("Send the newsletter", "Do not send the newsletter"),
    ("What happens if I pay late?", "What happens if I do not pay late?"),
    ("Which foods contain gluten?", "Which foods contain no gluten?"),
    ("I have received the parcel, what now?", "I have not received the parcel, what now?"),
    ("Is the contract valid?", "Is the contract invalid?"),
    ("Kann ich rauchen?", "Kann ich nicht rauchen?"),
    ("Puedo entrar?", "No puedo entrar?"),
)
_OPPOSED = (
    ("What are the benefits of a heat pump?", "What are the possible drawbacks of fitting a heat pump at home?"),
    ("How do I install the printer driver?", "How do I safely uninstall the old printer driver?"),
    ("Can I sell my car to a dealer?", "Can I buy an electric car from my dealer?"),
    ("How do I increase the volume?", "How do I quickly lower the speaker volume?"),
)
_BINDINGS = (
    ("Book 2 adults and 1 child", "Book 1 adult and 2 children"),
    ("Is the shop open from Monday to Friday?", "Is the shop open from Friday to Monday?"),
    ("Order 5 plates for Anna and 3 for Bob", "Order 5 plates for Bob and 3 for Anna"),
    ("Is a week in March cheaper than one in May?", "Is a week in May cheaper than one in March?"),
    ("What is 10 - 4?", "What is 10 + 4?"),
    ("Is -5 degrees cold?", "Is 5 degrees cold?"),
    ("What does 🙂 mean?", "What does 🙃 mean?"),
    ("Can I drink tea with milk?", "Can I drink milk with tea?"),
    ("Who is it?", "What is it?"),
    ("How do I get a copy of my report?", "How do I copy my report?"),
    ("Can I receive calls at sea?", "Can I call at sea?"),
    ("How do I use Redis?", "What is Redis?"),
    ("What do I clean first?", "How do I clean first?"),
    ("Do I need a permit?", "Do I have a permit?"),
    ("Do you want a boat?", "Do you have a boat?"),
    ("What is allowed in the cabin?", "What is in the cabin?"),
    ("What is the refund process?", "What is a refund?"),
    ("What should I eat at high altitude?", "What can I eat at high altitude?"),
    ("Can I have tea and cake?", "Can I have tea or cake?"),
    ("Where is 12 Mill Street?", "Where is 12 Mill Road?"),
    ("How do I make a payment file?", "How do I make a payment?"),
    ("What is my current account balance?", "What is my account balance?"),
    ("What is Oslo like?", "What is Oslo?"),
    ("Divide 12 by 3", "Divide 3 by 12"),
    ("Does my brother's wife inherit?", "Does my wife's brother inherit?"),
    ("Can the landlord sue the agent?", "Can the agent sue the landlord?"),
)
_DIRECTIONS = (
    ("How do I get from {x} to {y}?", "How do I get from {y} to {x}?"),
    ("Convert {x} to {y}", "Convert {y} to {x}"),
    ("Is {x} larger than {y}?", "Is {y} larger than {x}?"),
    ("Did {x} buy {y}?", "Did {y} buy {x}?"),
    ("Move my files from {x} to {y}", "Move my files from {y} to {x}"),
    ("How far is {x} ahead of {y}?", "How far is {y} ahead of {x}?"),
    ("Should I learn {x} before {y}?", "Should I learn {y} before {x}?"),
    ("Who won when {x} played against {y}?", "Who won when {y} lost against {x}?"),
)
_NAMED = (
    ("Porto", "Madrid"),
    ("Slack", "Teams"),
    ("Fiat", "Opel"),
    ("Redis", "MySQL"),
    ("Maria", "Jonas"),
    ("Go", "Zig"),
)

_QUESTIONS = (
    "how do I change the battery of my watch", "where can I hand in old paint", "what does a library card cost",
    "when does the swimming pool open", "who repairs musical instruments", "why is my radiator cold at the top",
    "can I bring a dog on the tram", "do you deliver to islands", "is there a ramp at the side entrance",
    "how long does it take to charge the scooter", "what should I feed a hedgehog", "how do I descale a kettle",
    "what documents do I need for a fishing licence", "how do I join the allotment waiting list",
)  # fmt: skip
_SAME = (
    "{}?", "{}", "  {} ?", "Hi, {}?", "Hello there, {}? Thanks!", "um {}", "{} please", "Quick question: {}?",
        "{}?? thank you",
    "Hey team, {}? Many thanks", "so {}", "{}... cheers", "Good morning, {}?", "Just wondering, {}?",
)  # fmt: skip


def traps() -> list[Pair]:
    """All traps, always the same."""
    found = [
        Pair(family, template.format(x), template.format(y))
        for family, fillers, templates in _SLOTS
        for template in templates
        for x, y in itertools.combinations(fillers, 2)
    ]
    found += [Pair("negation", *pair) for pair in _NEGATIONS]
    found += [Pair("binding", *pair) for pair in _BINDINGS]
    found += [Pair("opposites", *pair) for pair in _OPPOSED]
    found += [
        Pair("direction", a.format(x=x, y=y), b.format(x=x, y=y)) for a, b in _DIRECTIONS for x, y in _NAMED
    ]  # fmt: skip
    return found + [Pair(one.family, f"Hi there, {one.a} Thanks", one.b.lower()) for one in found[::3]]


def repeats() -> list[Pair]:
    """The same questions with greetings, blanks, closing marks and slips of the pen."""
    chance = random.Random(11)
    found = []
    for question in _QUESTIONS:
        plain = question[0].upper() + question[1:] + "?"
        found += [Pair("repeat", plain, form.format(question), same=True) for form in _SAME]
        found.append(Pair("repeat", plain, plain.upper(), same=True))
        found.append(Pair("slip", plain, _slip(question, chance), same=True))
    return found


def _slip(question: str, chance: random.Random) -> str:
    """One long word with two neighbouring letters exchanged."""
    words = question.split(" ")
    place = chance.choice([number for number, word in enumerate(words) if len(word) > 4])
    word = words[place]
    spot = next(spot for spot in range(2, len(word) - 1) if word[spot] != word[spot + 1])
    words[place] = word[:spot] + word[spot + 1] + word[spot] + word[spot + 2 :]
    return " ".join(words)
