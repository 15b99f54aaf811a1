"""Words that say what a prompt is about, by subject: our own lists, read by `structure.py`.

They let the small model recognise a subject of which it has seen one word in training by another word of the list. The
order of `SUBJECTS` is the order of the features: weights must be trained anew when it changes.
"""

from __future__ import annotations

_CODE = """
python javascript typescript java kotlin golang rust swift php perl ruby scala haskell lua matlab fortran cobol bash
powershell zsh linux ubuntu debian fedora centos unix sql mysql postgres postgresql sqlite mongodb redis nosql html
css scss tailwind bootstrap react reactjs vue vuejs angular svelte nextjs nodejs node npm yarn webpack vite deno
django flask fastapi laravel symfony rails spring springboot hibernate maven gradle jvm jar dotnet asp xaml wpf
winforms unity unreal godot roblox luau pygame tkinter pyqt pyside qt qml kivy opencv pillow numpy pandas dataframe
matplotlib seaborn plotly scipy sklearn pytorch tensorflow keras huggingface cuda docker dockerfile kubernetes kubectl
k8s helm terraform ansible jenkins github gitlab git commit rebase repo repository nginx apache haproxy traefik ssh
ssl tls dns dhcp vlan vpn firewall iptables systemd cron crontab aws ec2 s3 lambda azure gcp cloudformation api apis
rest graphql grpc websocket json yaml xml csv toml regex regexp regexes jquery ajax dom async await asyncio
multithreading thread mutex concurrency coroutine goroutine compiler compile debug debugger debugging refactor
unittest pytest junit traceback stacktrace exception segfault nullpointerexception undefined stdout stdin stderr
println printf int bool boolean struct enum pointer malloc iterator recursion recursive array arrays hashmap
linkedlist dictionary tuple parser parse backend frontend fullstack middleware endpoint oauth jwt cookie crud orm
schema migration sdk ide vscode vim neovim emacs jupyter notebook colab conda pip virtualenv venv setup arduino esp32
esp8266 stm32 raspberry gpio i2c uart spi firmware microcontroller verilog vhdl fpga systemverilog latex tikz overleaf
excel vba vlookup xlookup spreadsheet macro powerbi dax ffmpeg imagemagick selenium playwright beautifulsoup scrapy
scraper webscraping discord bot telegram flutter dart android ios xcode swiftui uikit jetpack electron glsl hlsl
shader shaders opengl vulkan webgl threejs canvas svg blender bpy ggplot ggplot2 dplyr rstudio tidyverse fibonacci
algorithm algorithms leetcode codeforces bigo asymptotic binary bitwise hexdump assembly x86 arm64 wasm webassembly
llvm gcc clang cmake makefile code coding coder codebase program programming programmer developer script snippet
syntax function functions method variable variables class classes constructor inheritance polymorphism interface
namespace module library package dependency dependencies import plugin addon extension config configuration localhost
http https url server servers client database databases query queries index join stored procedure trigger table tables
column columns row rows loop loops nested string strings integer float object objects instance callback event listener
button textbox div span stylesheet responsive login deploy deployment container containers pod ingress pipeline cicd
webhook cache queue kafka rabbitmq spark hadoop airflow dbt etl snowflake bigquery elasticsearch kibana grafana
prometheus microservice microservices singleton mvc mvvm solid oop cli terminal shell command sudo chmod grep awk sed
wget curl proxy router subnet raid lvm zfs proxmox vmware virtualbox hypervisor wsl dll exe registry код программа
программу скрипт функция функцию программирование питон питоне сервер база данных запрос ошибка código programa
función programación programme fonction quelltext programm programmiere skript codice funzione funkcja kod função
yazılım fonksiyon
"""
_MATH = """
calculate compute solve solving equation equations inequality algebra algebraic geometry geometric trigonometry
calculus derivative derivatives differentiate integral integrals integrate integration antiderivative limit limits
matrix matrices eigenvalue eigenvalues eigenvector determinant vector vectors scalar polynomial polynomials quadratic
cubic roots root factor factors factorial factorize prime primes composite divisor divisors divisible multiple
remainder modulo modular gcd lcm fraction fractions decimal decimals percent percentage ratio proportion average mean
median variance deviation probability probabilities expected permutation permutations combination combinations
combinatorics binomial dice die coin coins flip flips tossed toss cards deck urn marbles balls theorem lemma corollary
proof prove proves disprove conjecture axiom hypothesis induction contradiction converge converges convergence diverge
series sequence sequences arithmetic sum sums product difference quotient multiply multiplied multiplication divide
divided division subtract subtraction addition plus minus squared cubed square sqrt logarithm log exponent exponential
sine cosine tangent sin cos tan arcsin angle angles triangle triangles rectangle circle circles radius diameter
circumference perimeter area volume hypotenuse polygon pentagon hexagon sphere cone cylinder cube pyramid parallel
perpendicular bisector coordinates slope intercept parabola ellipse hyperbola asymptote continuous differentiable
bijection injective surjective topology manifold homomorphism isomorphism group abelian ring field subgroup lattice
integer integers rational irrational real numbers digits digit odd even pi euler fourier laplace newton taylor
regression poisson gaussian bayes bayesian markov estimator confidence pvalue anova chi statistic statistics speed
velocity km mph kilometers meters miles liters gallons litres distance hours minutes seconds simplify evaluate
maximize minimize optimal optimum numerically equal equals total cost interest compounded реши решить уравнение найди
найти вычисли вероятность интеграл производная сколько докажи задача resuelve calcula ecuación probabilidad demuestra
berechne gleichung löse beweise wahrscheinlichkeit résoudre calculer équation démontrer calcule resolva equação
calcola equazione oblicz rozwiąż równanie hesapla denklem
"""
_PUZZLE = """
puzzle puzzles riddle riddles riddler teaser crossword anagram sudoku logic logical deduce deduction infer sister
sisters brother brothers sibling siblings daughter daughters son sons mother father aunt uncle cousin grandfather
nephew niece apples apple oranges pears bananas candies socks gloves river boat bridge crossing cross ferry farmer
wolf goat goats cabbage fox chicken hen missionaries cannibals jug jugs bucket buckets gallon liter pour weigh weighs
weighing heavier lighter balance scale scales kilogram kg pound pounds bricks steel ton door doors host monty prize
guard guards liar liars lies truth truthful knight knights knave knaves statement statements prisoner prisoners hat
hats warden executioner murder murderer killer detective suspect suspects alibi weapon culprit room rooms table ball
cup upstairs candle candles burn rope ropes ice cubes melt dry laundry letter letters vowel vowels consonant
consonants spell word words count counting occurrences occur appear appears syllables backwards reversed palindrome
next pattern missing sequence older younger age ages years twice taller shorter tallest fastest race overtake patient
north south east west turn left right facing steps grid maze path shortest king queen chessboard tic tac toe move
moves switch switches bulb bulbs lightbulb clock hands bear snail well climbs climb slides lily pond doubles drawer
pairs handshake handshakes seating seated row neighbor houses owner drinks zebra bigger larger greater smaller biggest
smallest many paradox barber trick question загадка загадку головоломка логическая братьев сестер сестёр сестры
acertijo hermanas hermanos rätsel schwester schwestern énigme soeurs frères indovinello enigma irmãs bilmece kardeş
zagadka siostry
"""
_WRITE = """
write writes writing rewrite rewriting reword rephrase paraphrase proofread proofreading edit editing revise polish
improve improved shorten lengthen condense expand elaborate summarize summarise summary summaries tldr translate
translation translations translator draft drafting compose craft crafting outline essay essays paragraph paragraphs
sentence sentences article blog post newsletter caption captions headline slogan tagline bio biography resume cv
letter email emails reply memo speech toast eulogy vows invitation review testimonial press release proposal pitch
advertisement copywriting story stories storyline novel novella chapter prologue epilogue fiction fanfic fanfiction
fable fairytale tale narrative narrate plot poem poems poetry poetic haiku sonnet limerick rhyme rhymes rhyming verse
verses stanza stanzas lyrics lyric song songs chorus rap ballad screenplay script dialogue dialogues monologue scene
scenes sketch skit parody satire satirical humorous comedic witty tone formal informal casual professional
professionally concise persuasive descriptive vivid engaging captivating heartfelt grammar grammatical grammatically
spelling punctuation wording phrasing synonyms roleplay rp protagonist antagonist villain hero heroine character
characters backstory worldbuilding setting prompt midjourney dalle diffusion crossover episode sitcom transcript dub
imagine pretend continue continuation names naming brainstorm title titles nickname usernames abstract thesis
introduction conclusion manuscript academic cohesive coherent fluent clarity напиши написать перепиши рассказ стих
стихотворение стихи сочинение эссе песню песня письмо текст переведи перевод перевести исправь сказку историю сценарий
статью статья escribe redacta poema cuento historia carta ensayo traduce traducir corrige resumen canción schreibe
verfasse gedicht geschichte brief aufsatz übersetze korrigiere verbessere umformulieren zusammenfassung lied écris
rédige poème histoire lettre traduis reformule résumé chanson scrivi poesia racconto lettera traduci correggi
riassunto escreva conto traduza redação napisz wiersz opowiadanie przetłumacz popraw yaz şiir hikaye çevir mektup
schrijf verhaal vertaal viết dịch
"""
_FICTION = """
anime manga marvel avengers spiderman batman superman dc jedi sith skywalker vader hogwarts mario luigi zelda pokemon
pikachu naruto goku dragonball isekai waifu tsundere senpai undertale fnaf witcher skyrim fallout warhammer dungeons
dragons wizard wizards witch sorcerer elf elves dwarf dwarves orc goblin vampire vampires werewolf zombie zombies
dragon kingdom princess prince castle knight quest spaceship alien aliens galaxy cyberpunk dystopian steampunk
apocalypse superhero supervillain powers spell spells magic magical mage tavern battle duel fight versus mcu
multiverse lore canon fictional universe ninja samurai pirate pirates detective noir mech robot robots android monster
girl boy whispered smiled blushed teenager classmate schoolgirl
"""
_SCIENCE = """
physics quantum relativity gravity gravitational entropy thermodynamics electron electrons proton neutron photon
photons atom atoms molecule molecules molecular particle particles boson neutrino plasma wavelength frequency
electromagnetic magnetic voltage resistor capacitor circuit transistor semiconductor chemistry chemical reaction
reactions acid acids alkaline oxidation catalyst polymer polymers compound compounds synthesis solvent biology
biological cell cells protein proteins dna rna gene genes genetic genome mutation evolution species mammal mammals
bird birds insect insects reptile fish shark whale dinosaur dinosaurs bacteria virus viruses fungi plant plants
photosynthesis chlorophyll soil seed seeds tree trees forest ecosystem ecosystems climate warming carbon emission
emissions renewable solar wind energy nuclear fusion fission reactor geology volcano earthquake tectonic mineral
minerals rock ocean oceans astronomy planet planets star stars galaxy galaxies universe blackhole nebula moon mars
jupiter saturn telescope nasa rocket orbit satellite engine engines turbine aerodynamics stress strain beam concrete
alloy metal hydraulic torque transmission diesel battery batteries lithium neural transformer llm llms gpt embedding
embeddings finetuning agi asi superintelligence alignment neuroscience neurons brain cognition hypothesis gpu cpu rtx
nvidia amd ryzen intel benchmark ram ssd motherboard overclock antenna radio spectrum modulation bandwidth amplifier
speaker speakers headphones microphone audio acoustic lens camera aperture sensor
"""
_HEALTH = """
health healthy medical medicine medication medications doctor symptoms symptom disease diseases disorder disorders
syndrome diagnosis diagnose treatment treatments therapy therapies surgery patient patients clinical pain ache
headache migraine fever cough infection antibiotic antibiotics vaccine vaccines cancer tumor diabetes insulin glucose
cholesterol hypertension pressure heart cardiac stroke lung lungs liver kidney kidneys stomach gut intestinal skin
acne rash eczema allergy allergies asthma sleep insomnia apnea melatonin anxiety depression adhd autism bipolar
antidepressant ssri psychiatrist psychologist vitamin vitamins supplement supplements magnesium zinc protein calories
calorie diet keto fasting nutrition nutrients obesity weight workout workouts exercise exercises gym muscle muscles
biceps squat squats deadlift cardio stretching yoga pregnancy pregnant menstrual hormone hormones testosterone
estrogen thyroid eyesight vision eye eyes dental teeth tooth dentist bone bones fracture joint arthritis dose dosage
mg side effects overdose addiction alcohol nicotine caffeine immune inflammation
"""
_MONEY = """
finance financial investment investments invest investing investor stocks bonds etf etfs portfolio dividend dividends
options strike hedge hedging futures forex crypto bitcoin ethereum blockchain inflation recession gdp economy economic
economics economist capitalism socialism communism market markets monetary fiscal central bank banks banking loan
loans mortgage credit debit debt deficit bond yield tax taxes taxation irs vat accounting accountant ledger invoice
payroll revenue profit margin margins ebitda valuation startup startups entrepreneur entrepreneurship business
businesses marketing advertising seo brand branding sales customer customers b2b saas ecommerce shopify amazon
dropshipping strategy swot stakeholder stakeholders management manager project kanban agile scrum kpi budget supply
chain logistics insurance premium policy coverage pension retirement 401k salary wage wages payment payments
settlement swift sepa law laws legal lawyer attorney court courts judge lawsuit sue plaintiff defendant contract
contracts liability tort statute constitution constitutional amendment copyright patent trademark landlord tenant visa
immigration
"""
_HUMANITIES = """
history historical ancient medieval renaissance empire emperor roman rome greek greece egypt pharaoh byzantine ottoman
mongol viking vikings crusade crusades feudal monarchy king queen dynasty revolution revolutionary war wars wwi wwii
napoleon hitler stalin lincoln washington president presidents presidential churchill colonial colonialism slavery
treaty battle soviet ussr nazi holocaust genocide israel palestine gaza ukraine russia china taiwan hong kong nato
politics political politician politicians government democracy democratic republican liberal conservative fascism
ideology ideologies feminism gender sexuality transgender lgbt identity racism society social culture cultural
philosophy philosophical philosopher plato aristotle socrates kant nietzsche hegel stoicism stoic existentialism
nihilism metaphysics metaphysical epistemology ontology consciousness ethics ethical moral morality utilitarianism
deontology dilemma free will soul afterlife god gods religion religious christianity christian bible biblical jesus
gospel genesis psalm church catholic protestant pope islam islamic muslim quran muhammad hindu hinduism vedas krishna
shiva dharma karma buddhism buddhist buddha judaism jewish torah linguistics linguistic language languages grammar
phonetics phoneme vowel consonant dialect etymology derivation suffix prefix noun verb adjective literature author
novel novels shakespeare psychology sociology anthropology archaeology education educational pedagogy teacher teachers
student students curriculum classroom school university exam capital capitals country countries continent population
demographic demographics born died biography actor actress singer painter artist
"""
_LIFE = """
recipe recipes cook cooking bake baking oven flour sugar butter eggs egg milk cheese bread dough cake cookies
chocolate chicken beef pork salmon pasta rice noodles soup sauce salad vegetables vegetable fruit fruits spices garlic
onion tomato potato potatoes beer wine whiskey vodka cocktail coffee tea restaurant restaurants travel trip itinerary
vacation holiday hotel hotels flight flights airport tourist tourism sightseeing visit city cities beach museum paris
london tokyo japan italy spain bali thailand dog dogs puppy breed breeds cat cats kitten pet pets garden gardening
lawn roof wall walls paint painting bathroom kitchen bedroom living furniture sofa interior decor plumbing pipe faucet
drill wood wooden screws repair install bike bicycle bicycles car cars tire tires brake brakes motorcycle truck suv
sedan toyota honda tesla bmw phone phones smartphone iphone samsung laptop laptops tablet monitor keyboard mouse tv
camera lens photography movie movies film films series show netflix watch book books read reading game games gaming
videogame videogames rpg mmo fps minecraft fortnite league legends dota steam playstation xbox nintendo build builds
dnd mtg deck yugioh poker blackjack chess opening football soccer basketball baseball tennis cricket olympics music
guitar piano chord chords scale melody drum drums song album band playlist youtube channel subscribers video videos
thumbnail tiktok instagram podcast hobby hobbies gift gifts wedding birthday party kids children baby toddler
parenting dating relationship marriage friend boss coworker job interview career study studying learn learning
recommend recommendation recommendations suggest suggestions
"""
_EXPLAIN = """
what who whom whose where when why which explain describe define definition meaning means mean difference differences
differ compare comparison versus vs advantages disadvantages pros cons benefits drawbacks causes cause effects effect
impact influence role importance significance purpose origin history overview works happen happens happened known
famous popular best better top worth should recommend suggest tips advice guide steps ways example examples types
kinds list facts discuss discussion analyze analyse analysis opinion think argument arguments evidence evaluate что
кто где когда почему какой какие какая зачем как расскажи объясни опиши qué quién dónde cuándo cuál cómo explica was
wer wo wann warum welche welcher wie erkläre quel quelle quels qui où quand pourquoi comment explique quoi cosa chi
dove quando perché quale spiega quem onde porque qual como co kto gdzie kiedy dlaczego jaki ne kim nerede neden nasıl
wat waar waarom welke hoe
"""
_CHAT = """
hi hello hey hiya howdy yo sup greetings morning evening night goodnight bye goodbye thanks thank thx welcome sorry
please lol haha hahaha lmao ok okay cool nice great awesome wow hmm yes no yeah yep nope sure fine buddy dude bro mate
joke jokes funny pun puns laugh chat talk talking feel feeling feelings lonely sad happy tired bored boring angry
upset depressed stressed cry crying love hate miss hug friend friends girlfriend boyfriend crush breakup broke heart
alone life struggling hopeless motivation advice sentient sentience conscious alive human robot ai chatgpt gpt claude
gemini llama bard assistant chatbot openai anthropic google meta yourself name old age trained training cutoff
knowledge version model doing today day weekend meet привет здравствуй здравствуйте спасибо пока дела hola gracias
adiós buenos días hallo danke tschüss guten tag bonjour salut merci revoir ciao grazie buongiorno olá obrigado
obrigada oi cześć dzięki merhaba selam teşekkürler dzień dobry hoi dank xin chào
"""
_WEB = """
today tonight tomorrow yesterday currently current latest newest recent recently upcoming now nowadays news breaking
headline headlines weather forecast temperature price prices cost costs stock stocks exchange rate rates election
elections poll polls candidate candidates president winner won win wins score scores match game league standings
season championship cup playoffs medal medals olympics schedule release released launch launched announced available
open opening hours near nearby address restaurant restaurants flights traffic live update updates trending date day
week month year 2023 2024 2025 2026 2027 trump biden harris zelensky putin ukraine gaza ceasefire attack сегодня
сейчас завтра новости погода курс цена hoy mañana noticias tiempo clima precio heute morgen nachrichten wetter preis
aujourd'hui demain actualités météo prix oggi domani notizie meteo prezzo hoje amanhã notícias preço dziś jutro pogoda
cena bugün yarın haberler hava fiyat
"""
_ASK = """
develop implement create make build generate design give provide find fix help show convert add modify change use
using need want try trying tried get set how can could would act assume role
"""

_LISTS = {
    "code": _CODE,
    "math": _MATH,
    "puzzle": _PUZZLE,
    "write": _WRITE,
    "fiction": _FICTION,
    "science": _SCIENCE,
    "health": _HEALTH,
    "money": _MONEY,
    "humanities": _HUMANITIES,
    "life": _LIFE,
    "explain": _EXPLAIN,
    "chat": _CHAT,
    "web": _WEB,
    "ask": _ASK,
}
SUBJECTS: tuple[str, ...] = tuple(_LISTS)

WORDS: dict[str, tuple[int, ...]] = {}
"""Each known word, in lower case, with the numbers of its subjects."""
for _number, _list in enumerate(_LISTS.values()):
    for _word in _list.split():
        WORDS[_word] = (*(n for n in WORDS.get(_word, ()) if n != _number), _number)

_PHRASES = {
    "code": """c++ | c# | .net | stack overflow | source code | 代码 | 编程 | 程序 | 函数
        | コード | プログラム | 関数 | 코드 | 프로그램 | 함수 | 脚本 | 数据库 | कोड | كود |
        برنامج""",
    "math": """how many | how much | how long | how far | 计算 | 证明 | 方程 | 概率 | 求解
        | 数学 | 計算 | 確率 | 方程式 | 証明 | 계산 | 확률 | 방정식 | 多少 | 几个 | احسب |
        معادلة | गणना""",
    "puzzle": """what am i | comes next | how many r | in the word | logic puzzle |
        step by step | 谜 | 推理 | なぞなぞ | 수수께끼 | لغز | पहेली | 姐妹 | 兄弟""",
    "write": """写一 | 写个 | 写作 | 翻译 | 润色 | 改写 | 故事 | 诗 | 作文 | 小说 | 文章 | 总结 | 書いて |
        翻訳 | 物語 | 小説 | 文章 | 添削 | 要約 | 써줘 | 써 줘 | 번역 | 이야기 | 작성 | اكتب |
        ترجم | قصة | قصيدة | लिखो | लिखिए | अनुवाद | कहानी | कविता | act
        as | role play""",
    "explain": """什么 | 为什么 | 怎么 | 如何 | 哪 | 谁 | 介绍 | 解释 | とは | なぜ | どう | 教えて | 무엇 | 왜
        | 어떻게 | 설명 | 알려 | ما هو | ما هي | لماذا | كيف | क्या | क्यों |
        कैसे""",
    "chat": """how are you | who are you | are you a | do you have | 你好 | 你是谁 |
        谢谢 | こんにちは | ありがとう | 안녕 | 고마워 | مرحبا | السلام | شكرا | नमस्ते |
        धन्यवाद | what's up | your name""",
    "web": """right now | this week | this year | near me | 今天 | 现在 | 最新 | 天气 |
        价格 | 今日 | 天気 | ニュース | 오늘 | 날씨 | 뉴스 | اليوم | الطقس | आज | मौसम |
        who is the current""",
}
PHRASES: tuple[tuple[str, str], ...] = tuple(
    (" ".join(phrase.split()), subject) for subject, joined in _PHRASES.items() for phrase in joined.split("|")
)
"""Pieces of text, in lower case, with their subject: where a word has no end, or one word says too little."""
