"""The claims that providers' models make of themselves, as phrases: who they say they are, what, and whose.

Only what is said in the first person is a claim. A phrase here is found from its first letter on, at the beginning of a
word; what stands left of it is looked at when it is found (see voice.py). Pure.
"""

from __future__ import annotations

from services.gateway.persona.grammar import After, Before, Char, Either, Maybe, Named, NotBefore, Phrase, Row, Words

SPACE = Char("[ \n\u00a0]")
_AP = Char("['’]")
WORD = r"[\w'’-]"
_END = NotBefore(Char(WORD))
_ENDS_WORD = Row(NotBefore(Char(r"[\w'’]")), NotBefore(Row(Char("-"), Char(r"\w"))))


def listed(text: str) -> tuple[str, ...]:
    """Texts with strokes between them."""
    return tuple(text.split("|"))


def _words(*texts: str) -> Words:
    """Texts of which each may begin in a capital letter."""
    return Words([*texts, *(text[:1].upper() + text[1:] for text in texts if text[:1].islower())])


MAKERS = listed(
    "OpenAI|Open AI|Anthropic|Google DeepMind|Google AI|Google Research|Google|DeepMind|Meta AI|"
    "Meta|Facebook|Microsoft|Mistral AI|Mistral|Alibaba Cloud|Alibaba|Amazon Web Services|Amazon|"
    "AWS|xAI|DeepSeek|Cohere|Moonshot AI|Zhipu AI|Z.ai|Baidu|Tencent|ByteDance|01.AI|AI21 Labs|"
    "NVIDIA|Nvidia|IBM|Hugging Face|HuggingFace|Databricks|Perplexity AI|Perplexity|Inflection AI|"
    "Stability AI|Nous Research|TII|the Technology Innovation Institute|Apple|LMSYS|Reka AI|"
    "Together AI|Upstage|MiniMax|StepFun|xiaomi|Aleph Alpha|EleutherAI|AI2|"
    "the Allen Institute for AI"
)
STRONG = listed(
    "ChatGPT|GPT-3|GPT-3.5|GPT-3.5 Turbo|GPT-3.5-turbo|GPT-4|GPT-4 Turbo|GPT-4o|GPT-4o mini|GPT-4.1|"
    "GPT-5|GPT-5 mini|Google Bard|Google Gemini|Meta AI|Microsoft Copilot|Bing Chat|GitHub Copilot|"
    "DeepSeek|DeepSeek-V2|DeepSeek-V3|DeepSeek-R1|DeepSeek Chat|DeepSeek-Coder|Qwen|Qwen2|Qwen2.5|"
    "Qwen3|LLaMA|LLaMA 2|Llama 2|Llama 3|Llama 3.1|Llama 3.2|Llama 3.3|Llama 4|Mixtral|"
    "Mistral Large|Mistral Small|Mistral 7B|Command R|Command R+|ChatGLM|HuggingChat|Perplexity AI|"
    "Gemma|Gemma 2|Gemma 3|Claude 2|Claude 3|Claude 3 Opus|Claude 3 Sonnet|Claude 3 Haiku|"
    "Claude 3.5|Claude 3.5 Sonnet|Claude 3.5 Haiku|Claude 3.7 Sonnet|Claude 4|Claude Sonnet 4|"
    "Claude Opus 4|Claude Instant|Gemini Pro|Gemini Ultra|Gemini 1.5|Gemini 1.5 Pro|"
    "Gemini 1.5 Flash|Gemini 2.0|Gemini 2.0 Flash|Gemini 2.5 Pro|Gemini 2.5 Flash|OpenAssistant|"
    "Open Assistant|GLM-4|Ernie Bot|Amazon Nova|Amazon Titan|Le Chat"
)
"""Nobody and nothing else is called so."""
WEAK = listed("Claude|Gemini|Bard|Copilot|Grok|Llama|Mistral|Kimi|Doubao|Vicuna|Phi-3|Phi-4|Nova|Jamba|Pi|Assistant")
"""What people and other things are called too: a claim only with what says that a model speaks."""
_MAKER = Row(
    Maybe(
        Words(["the team at ", "the researchers at ", "researchers at ", "a team at ", "engineers at ", "the company "])
    ),
    Words(MAKERS),
    Maybe(Words([", Inc.", " Inc.", "'s team", "’s team"])),
)
_MADE = _words(
    *listed("developed|created|made|trained|built|designed|provided|powered|produced|owned|programmed|engineered"),
    *listed("fine-tuned|maintained|operated|hosted|released|launched|introduced|offered"),
)
_BY_MAKER = Row(
    Maybe(Words(["that was ", "which was ", "that is ", "which is ", "currently ", "originally ", "being "])),
    _MADE,
    Maybe(Row(Words([" and ", ", and ", ", "]), _MADE)),
    SPACE,
    Words(["by "]),
    _MAKER,
)
_NAMES = Words([*STRONG, *WEAK])
_BASED = Row(
    Maybe(Words(["and ", "which is ", "that is "])),
    Words(["based on ", "built on ", "powered by ", "built upon ", "running on "]),
    Maybe(Words(["the ", "a version of ", "OpenAI's ", "OpenAI’s ", "Google's ", "Meta's ", "Anthropic's "])),
    Maybe(Words(["OpenAI's ", "OpenAI ", "Google's ", "Meta's "])),
    Either(Words([*STRONG, "GPT"]), _NAMES),
    Maybe(Words([" architecture", " language model", " model", " family of models", " series of models", " family"])),
)
_TAIL = Row(
    Maybe(Char(",")),
    SPACE,
    Either(
        Row(_BY_MAKER),
        Row(Words(["by ", "from ", "at "]), _MAKER),
        _BASED,
        Row(Words(["called ", "named ", "known as "]), _NAMES),
    ),
    _END,
)
_ADJECTIVES = Words(
    [
        *listed("AI|A.I.|AI-powered|AI-based|AI-driven|NLP|LLM|GPT|non-human|OpenAI|Google|Anthropic|Meta|Microsoft"),
        *listed(
            "artificial|artificially intelligent|artificial intelligence|large|language|text-based|text|"
            "conversational|virtual|digital|neural network|neural|machine learning|machine-learning|machine|"
            "deep learning|automated|computer|generative|helpful|multimodal|pre-trained|pretrained|trained|"
            "advanced|intelligent|based|chat|natural language processing|natural language|unbiased|neutral|"
            "impartial|responsible|harmless|honest|friendly|simple|powerful|online|software|general-purpose|"
            "transformer-based|transformer|open-source|sophisticated|state-of-the-art|computer-based|"
            "cloud-based|knowledgeable|interactive|mere|new|small"
        ),
        *listed("Artificial Intelligence|Artificial|Large|Language|Machine Learning|Virtual|Digital|Natural Language"),
    ]
)
_HEADS = Words(
    [
        *listed(
            "AI|A.I.|LLM|model|assistant|chatbot|chat bot|bot|program|system|machine|tool|agent|entity|intelligence"
        ),
        *listed("software|application|service|technology|companion|algorithm|interface|helper|GPT"),
        *["Model", "Assistant", "Chatbot", "Intelligence"],
    ]
)


def _kind(name: str) -> Phrase:
    """What a model says it is: an AI language model (developed by OpenAI)."""
    noun = Row(Words(["a ", "an "]), Maybe(Row(_ADJECTIVES, SPACE), most=5), _HEADS)
    return Named(name, Row(Named(f"{name}_noun", noun), _ENDS_WORD, Named(f"{name}_tail", _tails())))


def _tails() -> Phrase:
    return Maybe(_TAIL, most=3)


_SPEAKS = Words(["I", "my", "My", "me"])
_LINKED = Row(Maybe(Char(",")), SPACE, Maybe(Words(["however, ", "of course, ", "unfortunately, "])), _SPEAKS, _END)
_NOT_ABLE = Row(
    Maybe(Char(",")),
    SPACE,
    Either(
        Row(
            Words(["I "]),
            Maybe(Words(["simply ", "also ", "really ", "personally ", "just "])),
            Words(listed("do not|don't|don’t|cannot|can't|can’t|can not|am not|am unable|have no|lack")),
        ),
        Row(Words(["I'm ", "I’m "]), Words(["not", "unable"])),
        Words(["my programming", "my training", "my knowledge"]),
    ),
    _END,
)
_EXPLETIVE = Row(
    Words(["it"]),
    Either(
        Words(
            [" is", "'s", "’s", " would be", " wouldn't be", " is not", "'s not", " isn't", " is always", " is never"]
        ),
        Words([" goes against", " is beyond", " is outside", " is against"]),
    ),
    SPACE,
    Maybe(Words(["not "])),
    Either(
        Row(
            Words(
                listed(
                    "important|ethical|unethical|appropriate|inappropriate|possible|impossible|difficult|best|hard|"
                    "illegal|necessary|essential|crucial|recommended|advisable|wrong|acceptable|unacceptable|"
                    "challenging|safe"
                )
            ),
            SPACE,
            Words(["to", "that", "for"]),
        ),
        Words(["my", "within my", "in my", "beyond my", "outside my", "against my"]),
    ),
    _END,
)
_OPENS = Row(
    Char(","),
    SPACE,
    Either(
        _EXPLETIVE,
        Row(
            NotBefore(
                Row(
                    Words(listed("it|they|he|she|its|their|his|her|this|that|these|those|the|you|we|one|some|many")),
                    Before(Char(r"\W")),
                )
            ),
            NotBefore(Row(Words(["language models", "chatbots", "machines", "humans", "models"]), Before(Char(r"\W")))),
            Char("[a-z]"),
        ),
        Row(Words(["the following", "here is", "here are"]), _END),
    ),
)
"""What goes on after a claim at the beginning of a sentence, where nobody else is named."""
_STOPS = Either(
    Char("[.,;:!?)\n—–]"), Row(SPACE, Words(listed("and|but|so|or|because|who|that|which|to|with|I|—")), _END)
)
_ADVERB = Maybe(
    Row(
        SPACE,
        Words(
            listed("just|only|simply|merely|actually|also|still|currently|essentially|basically|really|indeed|afraid")
            + listed("in fact|of course|not a human but|not a person but|not human, but|here as|created as")
        ),
        Maybe(Char(",")),
    ),
    most=2,
)
_AM = Either(Row(_AP, Words(["m"])), Words([" am", " was"]))
_STARS = Maybe(Words(["**", "*", "__"]))


def _only(name: str, phrase: Phrase, *, ends: bool = False) -> Phrase:
    """Nothing, where the phrase follows; the name says that it was this one."""
    return Row(Before(phrase, ends=ends), Named(name, Row()))


_TO = Row(SPACE, Words(["to"]), _END)
_SPEAKING = Either(
    Char("[.!?\n;:)]"),
    Words([" —", " –", " - "]),
    Row(
        Words([", "]),
        Words(listed("and I|here to|happy to|your AI|your helpful|your virtual|ready to|how can|nice to")),
    ),
)
"""What a model goes on with that has said its name."""
_ENDS_NAME = Row(_ENDS_WORD, NotBefore(Row(Char(r"\."), Char(r"\d"))))
_APPOSITION = Row(
    Words([", ", ", which is ", " - ", " – ", " — ", ": "]), _kind("also_kind"), Maybe(Named("also_to", _TO))
)
_WHOSE = Row(
    Maybe(Char(",")),
    SPACE,
    Either(Row(_BY_MAKER, Maybe(Named("whose_to", _TO))), Row(Words(["by ", "from "]), _MAKER), _BASED),
    _END,
)
_NAMED = Row(
    _STARS,
    Either(Row(Named("strong", Words(STRONG)), _ENDS_NAME), Row(Named("weak", Words(WEAK)), _ENDS_NAME)),
    _STARS,
    Either(Named("also", _APPOSITION), Named("whose", _WHOSE), Row()),
    _END,
    Either(_only("name_linked", _LINKED), _only("speaking", _SPEAKING, ends=True), Row()),
)
"""Who a model says it is: ChatGPT, a language model trained by OpenAI."""
_SHORT_MAKERS = ("OpenAI", "Anthropic", "Alibaba", "Google", "Meta", "Meta AI", "Microsoft", "Mistral AI", "DeepSeek")
_WHO = listed("creator|creators|developer|developers|maker|makers|provider|company|team|designers")
_BEEN = Words([" have been", "'ve been", "’ve been", " had been"])
_NAMING = Either(
    Row(After("aA"), Words(["s "])),
    Row(After("I"), _AM, _ADVERB, SPACE),
    Row(After("I"), _AM, Words([" called ", " known as ", " named "])),
    Row(After("mM"), Words(["y name is ", "y name's ", "y name’s "])),
    Row(After("cC"), Words(["all me "])),
)
_DESCRIBING = Either(
    Row(After("aA"), Words(["s "])),
    Row(After("bB"), Words(["eing "]), Maybe(Words(["just ", "only "]))),
    Row(After("I"), _AM, _ADVERB, SPACE),
)

CLAIMS: dict[str, Phrase] = {
    "name": Row(_NAMING, _NAMED),
    "kind": Row(
        _DESCRIBING,
        _STARS,
        _kind("kind_np"),
        Either(
            _only("unable", _NOT_ABLE),
            _only("linked", _LINKED),
            _only("opens", _OPENS),
            _only("stops", Either(_STOPS, Words(["**", "*", "__"])), ends=True),
        ),
    ),
    "made": Row(
        After("I"),
        Either(_AM, _BEEN),
        _ADVERB,
        SPACE,
        Either(Named("based", _BASED), Named("made_by", _BY_MAKER)),
        _END,
    ),
    "my_maker": Row(
        After("mM"),
        Words(["y "]),
        Words(_WHO),
        Maybe(Words([" company", " team"])),
        Words([", ", " is ", " are ", " at ", " from ", " was "]),
        Named("maker", Words(MAKERS)),
        _END,
    ),
    "maker_me": Row(
        Either(*(Row(After(maker[0]), Words([maker[1:]])) for maker in _SHORT_MAKERS)),
        Named("makes_me", Row(Words([" "]), Maybe(Words(["has ", "have ", "had "])), _MADE, Words([" me"]))),
        _END,
    ),
}
"""Kind → what stands behind its first letter."""
_AS = ("s a ", "s an ", *(f"s {char}" for char in "".join(sorted({name[0] for name in (*STRONG, *WEAK)})) + "*_"))
HEADS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys("aA", _AS),
    **dict.fromkeys("bB", ("eing a ", "eing an ", "eing just ", "eing only ")),
    **dict.fromkeys("cC", ("all me ",)),
    **dict.fromkeys("mM", ("y name is ", "y name's ", "y name’s ", *(f"y {who}" for who in _WHO))),
    "I": tuple(
        verb + after
        for verb in (" am", " was", "'m", "’m", " have been", "'ve been", "’ve been", " had been")
        for after in (" ", ",")
    ),
}
"""How claims begin: the first letter → what stands behind it."""
for _maker in _SHORT_MAKERS:
    HEADS[_maker[0]] = (*HEADS.get(_maker[0], ()), _maker[1:] + " ")


def vocabulary() -> set[str]:
    """Every word of every claim, its first one too, and of what is looked for behind it."""
    firsts = {"as", "As", "being", "Being", "call", "Call", "my", "My", "I", "m", "ve", "t", "s"}
    makers = {word for maker in _SHORT_MAKERS for word in maker.split()}
    return {word for phrase in CLAIMS.values() for word in phrase.words()} | firsts | makers
