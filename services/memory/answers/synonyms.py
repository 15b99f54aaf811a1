"""Words and phrases that ask for the same thing in everyday questions. Written by hand; narrow on purpose.

The first word of a line names the group. A word may stand in one group only, so that "the same as" stays an equality.
"""

from __future__ import annotations

GROUPS = """
get getting gets got acquire obtain receive
people person persons
request order ask
submit make file lodge
apply application
begin start commence
end terminate
petrol gasoline
salary wage wages
document paperwork papers
illness sickness
change modify alter amend edit
mail post
best greatest
insurance coverage
appointment appt
move relocate
study learn
cancel cancellation
keep retain
use utilise utilize
fix repair mend
help assist
charge charges cost costs fee fees price prices pricing
repo repository
mean signify
show demonstrate
elevator lift
fastest quickest
cheapest lowest-priced
movable portable
create setup establish
quick fast rapid speedy
shop store
large big huge
small little tiny
buy purchase
car vehicle automobile auto motor
phone telephone mobile cellphone smartphone handset
photo picture image photograph pic
movie film
job occupation employment
holiday vacation leave
flat apartment
shipping delivery postage
parcel package
rubbish trash garbage
bin dustbin
bathroom toilet loo restroom washroom
cashpoint atm
doctor gp physician
chemist pharmacy pharmacist
vaccine jab vaccination shot inoculation
medicine medication drug
test exam examination
university uni college
pupil student
child kid
mother mum mom
father dad
reservation booking book reserve
bill invoice
refund reimbursement moneyback
discount reduction
remove delete erase
broken faulty defective damaged
wrong incorrect
mistake error fault
issue problem trouble
answer reply respond response
choose select pick
choice option
find locate discover
search lookup
explain describe
try attempt
allow permit let
forbid prohibit ban
need require necessary
give provide supply offer
travel trip journey
flight plane
restaurant eatery diner
meal dish
takeaway takeout
dessert pudding
beverage drink
vegetarian veggie
open opening
shut close
hours times
enable activate turnon golive
disable deactivate turnoff
login signin logon
logout signout logoff
register signup enrol enroll
unregister unsubscribe optout
password passcode
website site webpage
internet web
wifi wireless wi-fi
database db
config configuration
settings preferences
folder directory
bug defect
deploy deployment
previous earlier prior
latest newest
new fresh
correct right
important crucial essential vital
difficult hard tough challenging
easy simple straightforward
happy glad
sad unhappy
smart intelligent clever
rich wealthy
famous wellknown
dangerous hazardous risky
good great nice
bad poor
improve enhance better boost
increase raise
decrease reduce lower
benefit advantage
drawback disadvantage downside con
difference distinction
reason cause
happen occur
purpose goal aim
type kind sort
amount quantity
size dimension
height tall
weight weigh heavy
distance far
speed velocity
duration length
temperature temp
weather forecast
capital capitalcity
country nation
town city
neighbour neighbor
colour color
favourite favorite
licence license
centre center
programme program
organisation organization
tyre tire
jewellery jewelry
grey gray
aluminium aluminum
litre liter
metre meter
theatre theater
catalogue catalog
travelling traveling
cancelled canceled
enquiry inquiry query
instalment installment
author writer
teacher instructor
lawyer attorney solicitor
police cop
boss manager
employee worker staff
colleague coworker
company firm corporation
ceo chiefexecutive
president presidency
leader head
founder creator
inventor invent
win champion winner
rank ranking
teach teaching
write writing
read reading
speak talk
language tongue
word term
sentence phrase
house home
garden yard
furniture furnishing
pavement sidewalk
motorway highway freeway
lorry truck
train railway rail
luggage baggage
suitcase case
money cash
deposit downpayment
mortgage homeloan
tax taxation
savings saving
account acct
statement stmt
transaction payment
withdraw withdrawal
verify confirm
complain complaint
return sendback
replace replacement
renew renewal
expire expiry expiration
deadline duedate closingdate
calendar diary
timetable schedule
arrive arrival
depart departure
tour sightseeing
weekend wkend
cook prepare
bake baking
gluten-free glutenfree
allergy allergic
exercise workout
weightloss slimming
sleep sleeping
pain ache
plug socket
tap faucet
torch flashlight
jumper sweater
trainers sneakers
nappy diaper
pushchair stroller
cooker stove hob
fridge refrigerator
hoover vacuum
tv television telly
sofa couch settee
wardrobe closet
sale clearance
voucher coupon
guarantee warranty
basket cart trolley
stock inventory
receipt proofofpurchase
track trace
courier deliveryman
postcode zipcode zip
rule regulation
law legislation
legal lawful
illegal unlawful
fine penalty
contract agreement
tenancy lease
rent rental
evict eviction
dismissal sacking firing
redundancy layoff
resign quit
promotion advancement
interview interviewing
cv resume
admin administrator
permission access
install installation
upgrade upgrading
backup back-up
restore recover
reset resetting
connect link
share sharing
download downloading
print printing
scan scanning
copy duplicate
paste pasting
rename renaming
filter filtering
freeze lock
unfreeze unlock
font text
bigger larger
smaller littler
notify notification
remind reminder
mute silence
ring call
message msg
chat conversation
answerphone voicemail
sim simcard
signal reception
"""

PHRASES = {
    "turn on": "turnon", "switch on": "turnon", "turned on": "turnon", "turn off": "turnoff", "switch off": "turnoff",
    "shut off": "turnoff", "shut down": "shut", "close down": "shut", "set up": "setup", "setting up": "setup",
    "sign up": "signup", "sign in": "signin", "log in": "login", "logging in": "login", "signing in": "signin",
    "log on": "logon", "log into": "login", "sign into": "signin", "log out": "logout", "sign out": "signout",
    "opt out": "optout", "opt in": "optin", "check in": "checkin", "check out": "checkout", "checking in": "checkin",
    "checking out": "checkout", "pick up": "pickup", "look up": "lookup", "back up": "backup", "go live": "golive",
    "goes live": "golive", "send back": "sendback", "money back": "moneyback", "wi fi": "wifi", "wi-fi": "wifi",
    "e mail": "email", "e-mail": "email", "come with": "include", "comes with": "include", "due date": "duedate",
    "closing date": "closingdate", "find out": "find", "get rid of": "remove", "capital city": "capital",
    "cell phone": "phone", "mobile phone": "phone", "zip code": "zip", "in order to": "to", "as well as": "and",
    "such as": "like", "a lot of": "many", "a number of": "many", "be able to": "can", "is able to": "can",
    "am able to": "can", "are able to": "can", "have to": "must", "has to": "must", "had to": "must",
    "need to": "must", "needs to": "must", "want to": "want", "would like to": "want", "how come": "why",
    "what time": "when", "what date": "when", "what day": "when", "which day": "when", "at what time": "when",
    "what does": "what", "how do": "how",
    "sign on": "signin", "hang up": "hangup", "give up": "quit", "carry on": "continue", "put off": "postpone",
    "call off": "cancel", "fill in": "complete", "fill out": "complete", "take away": "takeaway", "take out": "takeout",
    "bring along": "bring", "roll back": "rollback", "rolling back": "rollback", "part time": "parttime",
    "full time": "fulltime", "part-time": "parttime", "full-time": "fulltime", "add up": "addup", "top up": "topup",
    "top-up": "topup", "rather than": "instead", "instead of": "instead", "other than": "except",
    "apart from": "except",
    "how often": "howoften", "how long": "howlong", "how many": "howmany", "how much": "howmuch", "how old": "howold",
    "how far": "howfar", "how big": "howbig", "how tall": "howtall", "how soon": "when", "how early": "howearly",
    "how late": "howlate", "what year": "when", "which year": "when", "what kind": "what", "what kinds": "what",
    "what type": "what", "what types": "what", "what sort": "what", "what sorts": "what", "what is the best way": "how",
    "best way": "bestway", "used to": "usedto",
}  # fmt: skip
"""Several words that are one; replaced before anything else is looked at."""


def _group_of() -> dict[str, str]:
    found: dict[str, str] = {}
    for line in GROUPS.split("\n"):
        words = line.split()
        for word in words:
            found.setdefault(word, words[0])
    return found


GROUP_OF = _group_of()
"""The group of a word that has synonyms."""
