"""Words that harmful texts are made of: a hint beside what the embedding says, never a verdict by itself.

The lists are our own and stand in ROT13, so that nobody has to read them by accident. A word also counts when letters
are repeated ("shiiit"), starred out or written as digits and signs.
"""

from __future__ import annotations

import codecs
import re

_SLURS = """
    ornare puvax pbba phpx qnexvr qlxr snt snttbg snttl srzvanmv shpxgneq tbyyvjbt tbbx unysoerrq wvtnobb xvxr
    yvogneq zbatbybvq zhqfyvzr avttn avttnu avttnm avttre cnxv cvxrl cbepuzbaxrl enturnq erqfxva ergneq ergneqrq
    fnaqavttre furznyr fuvgfxva fcnfgvp fcvp fcvpx fdhnj gbjryurnq genaal jrgonpx juvgrgenfu mvccreurnq
"""
_STRONG = """
    nubyr nefr nefrubyr nff nffpybja nffung nffubyr nffjvcr onfgneq ongfuvg ovngpu ovgpu ovgpunff ovgpul oybjwbo
    obyybpxf ohttre ohxxnxr ohyyfuvg pyhfgreshpx pbpx pbpxfhpxre penc penccl phzqhzc phag qnza qnzarq qvpx qvpxurnq
    qvpxjnq qvyqb qvcfuvg qbhpur qbhpuront qhzonff qhzoshpx sngnff spx spxvat sxva sxa shpx shpxrq shpxre shpxsnpr
    shpxurnq shpxva shpxvat shpxjvg shtyl shx shxva tbqqnza tbqqnzarq tgsb unaqwbo ubefrfuvg wnpxnff wvmm xlf zsre
    zvys zbsb zbgureshpxre zbgureshpxvat zhgunshpxn cvff cvffrq cvffre cevpx chffl fphzont fuvg fuvgont fuvgr
    fuvgurnq fuvgubyr fuvggl fxnax fyhg fyhggl fbabsnovgpu fgsh gubg gvgf gvggvrf gbffre gjng jnax jnaxre juber jgs
"""
_INSULTS = """
    ncr ovtbg ovtbgrq ovzob oenvaqrnq oenvayrff oenvajnfurq pybja pybjavfu pbpxebnpu pbzzvr pbeehcg pbjneq pbjneqyl
    penpxurnq perrc perrcl pebbx qrtrarengr qrzragrq qrzbavp qrenatrq qrfcvfr qvpxyrff qvftenpr qvftenprshy
    qvfthfgvat qhzo qhzore qhzorfg qhzzl qhzcfgre rivy sneg snfpvfg sng sngfb svygu svygul sbby sbbyvfu sernx
    tneontr turggb tebbzre tebff unt ungr uvyyovyyl vqvbg vqvbgvp vzorpvyr vaoerq vapry wrex whaxvr xnera yvne
    ybngur ybfre yhangvp zbaxrl zbeba zbebavp anfgl anmv cnrqbcuvyr cnenfvgr cngurgvp crqb crqbcuvyr creireg cvt
    cvtf cbbc cflpub cflpubcngu chxr enpvfg encvfg eng erqarpx fngna fnintr fperj fperjrq fphz fphzont fravyr
    funzryrff furrc furrcyr fuhghc fvpxb fvzc fanxr fabjsynxr fghcvq fhouhzna fhpx fhpxrq fhpxf fjvar guht genvgbe
    genfu gheq htyl irezva ivyr ibzvg jrveqb jbeguyrff
"""
_THREATS = """
    orng obzo ohea pubxr qrnq qrcbeg qrfgebl qvr qebja rkrphgr rkgrezvangr tnf unat unatrq uryy uheg xvyy xvyyrq
    ylapu zheqre chapu encr encrq ebg fubbg fubg fync fgno fgenatyr
"""
GROUPS = ("slurs", "strong", "insults", "threats", "you")
"""What `counts` tells of, in its order; the last one is whether somebody is spoken to."""
_ENDINGS = ("", "s", "es", "z", "er", "ers", "ed", "in", "ing", "y", "ish")
_SIGNS = str.maketrans("@$01345!€£", "asoieasiel")
_STARS = "*#_-%·"
_WORD = re.compile(r"[@$]?[^\W_][\w@$!*#%·'’-]*", re.ASCII)
_RUNS = re.compile(r"(.)\1+")
_ADDRESSED = "you your youre you're u ur yourself yall y'all"
_YOU = frozenset(_ADDRESSED.split())
CHARACTERS_MAX = 4000
"""What is looked at of one window."""
_COUNT_MAX = 3


def _once(word: str) -> str:
    """Runs of one letter as one letter."""
    return _RUNS.sub(r"\1", word)


def _forms(encoded: str, endings: tuple[str, ...]) -> frozenset[str]:
    words = codecs.decode(encoded, "rot13").split()
    return frozenset(word + ending for word in words for ending in (endings if len(word) > 3 else ("", "s")))


_LISTS = tuple(_forms(one, endings) for one, endings in (
    (_SLURS, ("", "s")), (_STRONG, _ENDINGS), (_INSULTS, ("", "s", "es")), (_THREATS, ("", "s", "ed", "ing")),
))  # fmt: skip
_OF = {word: group for group, words in reversed(list(enumerate(_LISTS))) for word in words}
_HARD_ONCE = {_once(word): group for word, group in _OF.items() if group < 2 and len(_once(word)) > 3}
_BY_SHAPE: dict[tuple[int, str], list[str]] = {}
for _word, _group in _OF.items():
    if _group < 2:
        _BY_SHAPE.setdefault((len(_word), _word[0]), []).append(_word)


def _group_of(word: str) -> int | None:
    found = _OF.get(word)
    if found is not None:
        return found
    if any(sign in word for sign in _STARS):
        inner = word.strip("".join(_STARS) + "'’")
        stars = [index for index, sign in enumerate(word) if sign in _STARS]
        # "f***": the first letter and the length are what is left of a word; "well-known" has no word of its shape.
        if len(word) <= 16 and any(sign in "*#%" for sign in word):
            for listed in _BY_SHAPE.get((len(word), word[0]), ()):
                if all(index in stars or listed[index] == letter for index, letter in enumerate(word)):
                    return _OF[listed]
        return _OF.get(inner)
    plain = word.translate(_SIGNS).strip("'’!")
    found = _OF.get(plain)
    if found is not None:
        return found
    once = _once(plain)
    return _HARD_ONCE.get(once) if once != plain else None


def counts(text: str) -> list[float]:
    """How many words of each group a text has, at most three of each, in thirds; then whether it speaks to somebody."""
    found = [0, 0, 0, 0]
    you = False
    for word in _WORD.findall(text[:CHARACTERS_MAX].lower()):
        group = _group_of(word)
        if group is not None:
            found[group] += 1
        you = you or word in _YOU
    return [min(count, _COUNT_MAX) / _COUNT_MAX for count in found] + [float(you)]
