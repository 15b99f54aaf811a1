"""English words by what they do to a question: what the guards and the word alignment look up.

General lists, written by hand; nothing here is learned. A word that is in no list is a content word.
"""

from __future__ import annotations


def words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


FUNCTION = words(
    "a an the this that these those there is am are be been being was were do does did done have has had having "
    "will would shall should can could may might must ought i me my mine myself we us our ours ourselves you your "
    "yours yourself he him his she her hers it its they them their theirs one someone somebody anyone anybody what "
    "which who whom whose when where why how and or of at in on for to with by as into onto upon so then able "
    "possible ok okay allowed permitted go going please just also really actually currently exactly basically "
    "simply kindly way ways step steps process procedure method need needed needs require required requires want "
    "wants wanted some any if thing things stuff many come s t d m re ve ll"
)
"""Words that carry no content of their own. What some of them mean is looked at by guards of their own."""

ASKING = words("howmuch howmany howlong howoften howold howfar howbig howtall howearly howlate bestway usedto")
"""Phrases that ask; see QUESTION_KINDS in guards."""

NEGATIONS = words(
    "not no non never none nothing nobody nowhere neither nor without cannot cant dont doesnt didnt isnt arent "
    "wasnt werent wont wouldnt shouldnt couldnt mustnt hasnt havent hadnt aint except excluding lacking lack "
    "lacks fail fails failed unable stop stops stopped stopping avoid avoids avoiding avoided prevent prevents "
    "preventing prohibited forbidden banned refuse refuses refused deny denies denied hardly barely scarcely "
    "nicht kein keine nie nunca jamais pas sans ohne sin sem senza non nao não niet geen ikke inte aldrig"
)
"""Words that turn a question round."""

_SMALL_NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve "
    "thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
)
NUMBERS = {
    word: str(value)
    for value, word in enumerate(_SMALL_NUMBERS.split())
} | {
    "twenty": "20", "thirty": "30", "forty": "40", "fifty": "50", "sixty": "60", "seventy": "70", "eighty": "80",
    "ninety": "90", "hundred": "100", "thousand": "1000", "million": "1000000", "billion": "1000000000",
    "dozen": "12", "half": "0.5", "quarter": "0.25", "third": "o3", "twice": "2x", "double": "2x", "triple": "3x",
    "once": "1x", "couple": "2", "pair": "2", "both": "2", "single": "1",
    "second": "o2", "fourth": "o4", "fifth": "o5", "sixth": "o6", "seventh": "o7", "eighth": "o8", "ninth": "o9",
    "tenth": "o10", "twentieth": "o20",
}  # fmt: skip
"""Number words; ordinals begin with "o"."""

UNITS = {
    unit: group
    for group, units in {
        "gbp": "gbp pound pounds sterling quid £",
        "usd": "usd dollar dollars bucks $",
        "eur": "eur euro euros €",
        "jpy": "jpy yen ¥",
        "inr": "inr rupee rupees ₹",
        "chf": "chf franc francs",
        "cny": "cny yuan rmb",
        "pc": "% percent percentage pc",
        "s": "s sec secs second seconds",
        "min": "min mins minute minutes",
        "h": "h hr hrs hour hours hourly",
        "day": "day days daily",
        "week": "week weeks weekly wk wks",
        "fortnight": "fortnight fortnightly",
        "month": "month months monthly",
        "quarter": "quarterly",
        "year": "year years yearly annual annually yr yrs",
        "kg": "kg kgs kilo kilos kilogram kilograms",
        "g": "g gram grams",
        "mg": "mg milligram milligrams",
        "lb": "lb lbs",
        "oz": "oz ounce ounces",
        "stone": "stone stones",
        "km": "km kilometre kilometres kilometer kilometers",
        "m": "m metre metres meter meters",
        "cm": "cm centimetre centimetres centimeter centimeters",
        "mm": "mm millimetre millimetres millimeter millimeters",
        "mile": "mile miles",
        "ft": "ft foot feet",
        "in": "inch inches",
        "yard": "yard yards",
        "l": "l litre litres liter liters",
        "ml": "ml millilitre millilitres milliliter milliliters",
        "gallon": "gallon gallons",
        "pint": "pint pints",
        "b": "byte bytes",
        "kb": "kb kilobyte kilobytes",
        "mb": "mb megabyte megabytes",
        "gb": "gb gigabyte gigabytes",
        "tb": "tb terabyte terabytes",
        "kwh": "kwh",
        "w": "w watt watts",
        "kw": "kw kilowatt kilowatts",
        "v": "volt volts",
        "mph": "mph",
        "c": "c celsius centigrade",
        "f": "f fahrenheit",
        "k": "kelvin",
        "am": "am a.m",
        "pm": "pm p.m",
        "acre": "acre acres",
        "hectare": "hectare hectares",
    }.items()
    for unit in units.split()
}
"""Units and currencies by their group: `dollars` and `USD` are one."""

TIMES = {
    word: group
    for group, words in {
        "mon": "monday mondays mon",
        "tue": "tuesday tuesdays tue tues",
        "wed": "wednesday wednesdays wed weds",
        "thu": "thursday thursdays thu thur thurs",
        "fri": "friday fridays fri",
        "sat": "saturday saturdays",
        "sun": "sunday sundays",
        "jan": "january jan",
        "feb": "february feb",
        "mar": "march",
        "apr": "april apr",
        "jun": "june jun",
        "jul": "july jul",
        "aug": "august aug",
        "sep": "september sept sep",
        "oct": "october oct",
        "nov": "november nov",
        "dec": "december dec",
        "spring": "spring",
        "summer": "summer summers",
        "autumn": "autumn fall",
        "winter": "winter winters",
        "christmas": "christmas xmas",
        "easter": "easter",
        "today": "today",
        "tomorrow": "tomorrow",
        "yesterday": "yesterday",
        "tonight": "tonight",
        "weekend": "weekend weekends",
        "weekday": "weekday weekdays",
        "morning": "morning mornings",
        "afternoon": "afternoon afternoons",
        "evening": "evening evenings",
        "night": "night nights overnight",
        "noon": "noon midday",
        "midnight": "midnight",
        "last": "last final",
        "previous": "previous earlier former prior past",
        "next": "next upcoming following coming",
        "now": "now nowadays",
        "later": "later",
        "same": "same",
        "first": "first 1st",
    }.items()
    for word in words.split()
}
"""Words that place something in time or in a row."""

QUANTITIES = {
    word: group
    for group, words in {
        "all": "all every each whole entire entirely always everyone everybody everything",
        "few": "few several",
        "most": "most mostly maximum max highest largest biggest greatest longest tallest",
        "least": "least minimum min lowest smallest fewest shortest",
        "more": "more",
        "less": "less fewer",
        "only": "only solely alone",
        "half": "half halves",
        "than": "than",
        "enough": "enough",
        "too": "too",
        "another": "another other others",
        "again": "again",
        "until": "until till",
        "since": "since",
        "before": "before ahead prior",
        "after": "after afterwards",
        "during": "during",
        "unless": "unless",
        "instead": "instead",
        "over": "over above exceeding",
        "under": "under below beneath",
        "out": "out",
        "off": "off",
        "down": "down",
        "back": "back",
        "up": "up",
        "away": "away",
        "through": "through",
        "between": "between",
        "against": "against",
        "outside": "outside",
        "inside": "inside within",
        "abroad": "abroad overseas",
        "about": "about regarding concerning",
    }.items()
    for word in words.split()
}
"""Small words that change an answer; they must stand on both sides."""

_PAIRS = (
    "on|off; optin|optout; checkin|checkout; signin login logon|signout logout logoff; "
    "signup register|unregister; parttime|fulltime; pickup|dropoff; in|out; up|down; "
    "enable activate|disable deactivate; turnon|turnoff; lock|unlock; mute|unmute; open|close shut; "
    "start begin|stop end finish quit; accept approve|decline reject refuse deny; "
    "allow permit let|ban forbid block prohibit disallow exclude; include cover contain|exclude omit except; "
    "benefit advantage pro upside strength|drawback disadvantage con downside weakness risk danger; "
    "increase raise grow gain rise boost improve|decrease reduce lower drop lose fall cut damage shrink worsen; "
    "add insert append|remove delete subtract drop; grant give|revoke withdraw take; "
    "pause suspend|resume continue; upgrade|downgrade; buy purchase|sell; borrow|lend; import|export; "
    "upload|download; send|receive; push|pull; push|pop; deposit|withdraw withdrawal; "
    "arrive arrival|depart departure leave; hot warm|cold cool; "
    "most max maximum highest|least min minimum lowest; more|less fewer; over above|under below; "
    "before|after; first|last; best|worst; better|worse; good|bad; large big|small little; high|low; "
    "long|short; fast quick|slow; cheap|expensive dear; early|late; easy|hard difficult; "
    "safe|unsafe dangerous; legal lawful|illegal unlawful; public|private hide; online|offline paper; "
    "spicy|mild; old|new young; male man men boy|female woman women girl; mother mum mom|father dad; "
    "brother|sister; son|daughter; husband|wife; king|queen; uncle|aunt; landlord|tenant; buyer|seller; "
    "employer|employee; lender|borrower; teacher|student pupil; doctor|patient; adult|child kid; "
    "parent|child kid; hire|fire dismiss sack; win|lose; pass|fail; success successful|failure unsuccessful; "
    "true|false; positive|negative; left|right; north|south; east|west; inner|outer; internal|external; "
    "domestic|international; indoor|outdoor; ascend ascending|descend descending; asc|desc; encrypt|decrypt; "
    "encode|decode; compress|decompress extract; mount|unmount; attach|detach; connect|disconnect; "
    "subscribe|unsubscribe; follow|unfollow; archive|unarchive; install|uninstall; hide|show; join|leave; "
    "enter|exit; love|hate; like|dislike; debit|credit; income|expense; profit|loss; asset|liability; "
    "gross|net; fixed|variable; full|empty; full|part; wet|dry; heavy|light; dark|light; wide|narrow; "
    "deep|shallow; strong|weak; thick|thin; rich|poor; single|joint; same|different; inbound|outbound; "
    "sync|async; client|server; read|write; get|post; get|put; row|column; horizontal|vertical; lunar|solar; "
    "paid|free; day|night; am|pm; sunrise|sunset; freeze|thaw; melt|freeze; boil|freeze; vegan|meat; "
    "personal|business; home|away; save|spend; create make|destroy delete; build|demolish; expand|collapse; "
    "fill|empty; permanent|temporary; eat|avoid; carry|prohibit; qualify|disqualify; host|guest; "
    "supply|demand; question|answer; cause|cure treat prevent; cause|effect; prove|disprove; "
    "remember remind|forget; minor|major; ancient|modern; urban|rural; popular|unpopular; "
    "employed|unemployed; employed|selfemployed; qualified|unqualified; "
    "optional|mandatory compulsory required"
)
OPPOSITES = tuple(tuple(words(side) for side in pair.split("|")) for pair in _PAIRS.split("; "))
"""Pairs of which a question must not exchange one for the other."""

PERSONS = {
    word: group
    for group, words in {
        "child": "child children kid kids baby babies toddler toddlers infant infants teenager teenagers teen teens "
        "son sons daughter daughters minor minors junior",
        "adult": "adult adults grownup grownups",
        "parent": "parent parents mother mum mom father dad guardian",
        "partner": "partner spouse husband wife boyfriend girlfriend fiance fiancee ex expartner",
        "relative": "brother sister sibling uncle aunt cousin nephew niece grandmother grandfather grandma grandpa "
        "grandparent grandparents gran family relative relatives",
        "friend": "friend friends colleague colleagues coworker coworkers neighbour neighbours neighbor roommate "
        "flatmate "
        "flatmates guest guests visitor visitors",
        "elder": "elderly pensioner pensioners senior seniors retiree retirees",
        "tenant": "tenant tenants renter renters lodger lodgers",
        "landlord": "landlord landlords landlady",
        "employer": "employer employers boss manager managers",
        "employee": "employee employees staff worker workers",
        "student": "student students pupil pupils undergraduate undergraduates graduate graduates",
        "teacher": "teacher teachers tutor professor",
        "customer": "customer customers client clients member members nonmember nonmembers",
        "patient": "patient patients",
        "woman": "woman women women's female females girl girls pregnant",
        "man": "man men male males boy boys",
        "business": "business businesses company companies nonprofit nonprofits charity charities",
    }.items()
    for word in words.split()
}
"""Who a question is about, other than the one who asks."""
