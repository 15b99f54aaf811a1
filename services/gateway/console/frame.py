"""The console's frame: the page around every view, the sign-in card, and the pieces that views are made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from mesh.errors import MeshError, Reason
from services.gateway.console.html import Safe, el, prose

VIEWS = {
    "overview": ("Overview", "M3 3h7v9H3zM14 3h7v5h-7zM14 12h7v9h-7zM3 16h7v5H3z"),
    "playground": ("Playground", "M21 15a3 3 0 0 1-3 3H8l-5 4V6a3 3 0 0 1 3-3h12a3 3 0 0 1 3 3zM8 9h8M8 13h5"),
    "requests": ("Requests", "M3 6h4l4 12h4M15 18h6M15 6h6M11 6h1M18 3l3 3-3 3M18 15l3 3-3 3"),
    "analytics": ("Analytics", "M3 3v18h18M7 16l4-5 3 3 6-8"),
    "audit": ("Audit", "M12 2l8 3v6c0 5-3.500 8.500-8 11-4.500-2.500-8-6-8-11V5zM8.500 12l2.500 2.500 4.500-5"),
    "keys": ("Keys", "M15.500 7.500l3 3L22 7l-3-3M21 2l-9.600 9.600M12.500 15.500a5 5 0 1 1-10 0 5 5 0 0 1 10 0z"),
    "budgets": ("Budgets", "M12 2v20M17 6H9.500a3.500 3.500 0 0 0 0 7h5a3.500 3.500 0 0 1 0 7H6"),
    "models": ("Models", "M12 2l9 5v10l-9 5-9-5V7zM3 7l9 5 9-5M12 12v10"),
    "health": ("Health", "M22 12h-4l-3 9L9 3l-3 9H2"),
}
"""Every view: its title and the path of its icon."""
PARTS = {
    "router": "chooses the model",
    "provider": "talks to the model providers",
    "budget": "holds limits and counts money",
    "memory": "keeps threads and cached answers",
    "audit": "keeps the record of every request",
    "gateway": "this page and the API",
    "database": "PostgreSQL, where keys are checked",
}
"""What each part is for."""
CHAT_BODY = '{"model": "auto", "messages": [{"role": "user", "content": "Hello"}]}'
UNREACHED = frozenset({Reason.UNAVAILABLE, Reason.DEADLINE_EXCEEDED, Reason.INTERNAL, Reason.UNIMPLEMENTED})


@dataclasses.dataclass(frozen=True, slots=True)
class Reader:
    """Who looks at the page, as far as views need to know."""

    name: str
    """The key's public prefix, "operator", or empty without a key."""
    scopes: tuple[str, ...]
    csrf: str
    base_url: str
    """How the reader reached DAC, for lines to paste."""
    version: str
    org_id: str = ""
    key_id: str = ""

    def may(self, scope: str) -> bool:
        """Whether the reader's key has `scope`, itself or through a wider one."""
        wider = {"read": ("admin", "operator"), "chat": ("operator",), "admin": ("operator",)}
        return scope in self.scopes or any(one in self.scopes for one in wider.get(scope, ()))


def path_of(view: str) -> str:
    """Where a view is."""
    return "/" if view == "overview" else f"/console/{view}"


def icon(path: str) -> Safe:
    """A 24 by 24 line drawing that says nothing of its own."""
    return el("svg", el("path", d=path), class_="icon", viewBox="0 0 24 24", aria_hidden="true")


def _head(title: str, csrf: str = "") -> Safe:
    return el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        # DAC answers with "no-referrer", which would make browsers hide the origin of this page's own forms.
        el("meta", name="referrer", content="same-origin"),
        el("meta", name="color-scheme", content="light dark"),
        el("meta", name="csrf", content=csrf) if csrf else None,
        el("title", f"{title} · DAC"),
        el("link", rel="icon", href="/console/static/icon.svg", type="image/svg+xml"),
        el("link", rel="stylesheet", href="/console/static/console.css"),
        el("script", src="/console/static/console.js"),
    )


def _document(head: Safe, *body: Any, class_: str) -> str:
    return "<!doctype html>" + el("html", head, el("body", *body, class_=class_), lang="en")


THEME = el(
    "button",
    icon("M12 3v18M12 3a9 9 0 1 0 0 18M12 3a9 9 0 0 1 0 18M12 8h7M12 12h9M12 16h7"),
    el("span", "Theme", class_="label"),
    type="button",
    class_="quiet",
    data_theme_toggle=True,
    hidden=True,
)


def page(reader: Reader, view: str, *main: Any, title: str = "", lead: Any = None, notice: Safe | None = None) -> str:
    """A whole page: the sections beside, the view in the middle."""
    name = title or VIEWS[view][0]
    links = [
        el(
            "a",
            icon(drawn),
            el("span", label),
            href=path_of(one),
            aria_current="page" if one == view else None,
        )
        for one, (label, drawn) in VIEWS.items()
    ]
    if reader.name:
        who = el(
            "form",
            csrf_field(reader),
            el("span", reader.name, class_="mono who", title=f"Scopes: {', '.join(reader.scopes)}"),
            el("button", "Sign out", class_="quiet"),
            method="post",
            action="/console/sign-out",
        )
    else:
        who = el("a", "Sign in with a key", href="/console/sign-in", class_="quiet button")
    return _document(
        _head(name, reader.csrf),
        el("a", "Skip to the content", href="#main", class_="skip"),
        el(
            "header",
            brand(),
            el("nav", *links, aria_label="Sections"),
            el(
                "div",
                el("a", icon("M4 4h11l5 5v11H4zM15 4v5h5M8 13h8M8 17h5"), el("span", "API"), href="/docs"),
                THEME,
                who,
                class_="tools",
            ),
            class_="side",
        ),
        el(
            "main",
            el("div", el("h1", name), el("p", lead, class_="lead") if lead else None, class_="title"),
            notice,
            *main,
            id="main",
            tabindex="-1",
        ),
        class_="console",
    )


def brand() -> Safe:
    """The mark and the name."""
    image = el("img", src="/console/static/icon.svg", alt="", width=28, height=28)
    return el("a", image, el("b", "DAC"), href="/", class_="brand", aria_label="DAC, overview")


def sign_in_page(message: str = "", *, calm: bool = False, wanted: str = "") -> str:
    """The card that asks for a key, with a sentence when one was refused."""
    said = el("p", prose(message), class_="notice calm" if calm else "notice bad", role="status" if calm else "alert")
    card = el(
        "main",
        el("img", src="/console/static/icon.svg", alt="", width=48, height=48),
        el("h1", "Sign in to DAC"),
        el("p", "Paste an API key, or the operator's token.", class_="lead"),
        said if message else None,
        el(
            "form",
            el("label", "API key", for_="key"),
            el(
                "input",
                id="key",
                name="key",
                type="password",
                required=True,
                autofocus=True,
                autocomplete="current-password",
                spellcheck="false",
                placeholder="dac_live_…",
                maxlength=300,
            ),
            el("input", type="hidden", name="view", value=wanted) if wanted else None,
            el("button", "Sign in", class_="primary wide"),
            method="post",
            action="/console/sign-in",
        ),
        el(
            "p",
            "Where is it? The first start (",
            el("code", "make run"),
            ") printed one. Another is made with ",
            el("code", "dac key create NAME --scope chat --scope admin"),
            ".",
            class_="soft",
        ),
        id="main",
    )
    foot = el("footer", el("a", "API", href="/docs"), el("a", "Health", href="/health"), THEME)
    return _document(_head("Sign in"), card, foot, class_="door")


def plain_page(title: str, message: str, mend: str) -> str:
    """A page without a reader: when nobody can be let in."""
    return _document(
        _head(title),
        el(
            "main",
            el("img", src="/console/static/icon.svg", alt="", width=48, height=48),
            el("h1", title),
            el("p", prose(message), class_="notice calm", role="status"),
            el("p", mend, class_="soft"),
            el("p", el("a", "Try again", href="/", class_="primary button wide")),
            id="main",
        ),
        class_="door",
    )


def csrf_field(reader: Reader) -> Safe:
    """What every form that changes something carries."""
    return el("input", type="hidden", name="csrf", value=reader.csrf)


def card(title: str, *inside: Any, aside: Any = None, class_: str = "", id_: str | None = None) -> Safe:
    """A titled box."""
    head = el("div", el("h2", title), aside, class_="cardhead")
    return el("section", head, *inside, class_=f"card {class_}".strip(), id=id_)


def notice(message: str, kind: str = "good") -> Safe:
    """A sentence about what just happened: good, calm or bad."""
    return el("p", prose(message), class_=f"notice {kind}", role="alert" if kind == "bad" else "status")


def badge(word: str, kind: str = "") -> Safe:
    """A short word in a coloured pill."""
    return el("span", word, class_=f"badge {kind}".strip())


def chips(words: Sequence[str]) -> Safe:
    """Words in a row."""
    return el("span", *(el("span", word, class_="chip") for word in words), class_="chips")


def paste(line: str, id_: str) -> Safe:
    """A line to paste, with a button that copies it."""
    return el(
        "div",
        el("pre", el("code", line), id=id_, tabindex="0"),
        el("button", "Copy", type="button", class_="quiet copy", data_copy=f"#{id_}", hidden=True),
        class_="paste",
    )


def empty(sentence: str, line: str, id_: str) -> Safe:
    """What stands where nothing is yet: a sentence and the exact line that changes it."""
    return el("div", el("p", sentence), paste(line, id_), class_="empty")


def trouble(part: str, error: MeshError, again: str) -> Safe:
    """A calm card in place of what could not be read; the rest of the page works on."""
    if error.reason is Reason.PERMISSION_DENIED:
        return el(
            "div",
            el("p", el("b", "Your key does not open this.")),
            el("p", prose(error.message), class_="soft"),
            el("p", "Sign in with a key of that scope, or make one: ", el("code", "dac key create NAME --scope admin")),
            class_="trouble",
        )
    if error.reason in UNREACHED:
        about = PARTS.get(part, "")
        late = error.reason is Reason.DEADLINE_EXCEEDED
        said = "It took too long, and was not waited for any longer." if late else error.message
        return el(
            "div",
            el("p", el("b", f"{part} does not answer."), f" It {about}." if about else ""),
            el("p", prose(said), class_="soft"),
            el("p", "Everything else works on. ", el("code", "dac doctor"), f" and the log of {part} say more."),
            el("p", el("a", "Try again", href=again, class_="button")),
            class_="trouble",
            role="status",
        )
    return el("div", el("p", el("b", "This could not be read.")), el("p", prose(error.message)), class_="trouble")


def table(
    label: str, headings: Sequence[tuple[str, str]], rows: Sequence[Safe], *, class_: str = "", sortable: bool = True
) -> Safe:
    """A table that scrolls within itself. A heading is (text, kind): "num" and "" sort, "-" does not."""
    cells = [
        el(
            "th",
            el("button", name, type="button", data_sort=True) if sortable and kind != "-" and name else name,
            scope="col",
            class_="num" if kind == "num" else None,
        )
        if name
        else el("td")
        for name, kind in headings
    ]
    inner = el(
        "table",
        el("caption", label, class_="unseen"),
        el("thead", el("tr", *cells)),
        el("tbody", *rows),
        class_=class_ or None,
    )
    return el("div", inner, class_="scroll", tabindex="0", role="region", aria_label=label)


def cell(heading: str, *inside: Any, sort: object = None, class_: str = "") -> Safe:
    """A cell; its heading stands beside it on narrow screens, `sort` is what its column is sorted by."""
    return el("td", *inside, data_label=heading or None, data_value=sort, class_=class_ or None)


def confirm(reader: Reader, question: str, action: str, fields: dict[str, str], word: str, *, name: str) -> Safe:
    """A button that asks before it does something that cannot be undone; works without a script."""
    return el(
        "details",
        el("summary", word, aria_label=f"{word} {name}", class_="button quiet"),
        el(
            "form",
            csrf_field(reader),
            *(el("input", type="hidden", name=field, value=value) for field, value in fields.items()),
            el("p", question),
            el("button", f"{word} now", class_="danger"),
            method="post",
            action=action,
            class_="popup",
        ),
        class_="confirm",
    )


def chat_curl(base_url: str) -> str:
    """The line that asks for an answer."""
    return (
        f"curl {base_url}/v1/chat/completions \\\n"
        '  -H "Authorization: Bearer $DAC_API_KEY" \\\n'
        f"  -H 'Content-Type: application/json' \\\n  -d '{CHAT_BODY}'"
    )


def option(value: str, label: str, chosen: str = "") -> Safe:
    """One choice of a select."""
    return el("option", label, value=value, selected=value == chosen)


def field(label: str, control: Safe, hint: str = "", *, for_: str) -> Safe:
    """A labelled control."""
    return el(
        "div",
        el("label", label, for_=for_),
        control,
        el("small", hint, id=f"{for_}-hint") if hint else None,
        class_="field",
    )
