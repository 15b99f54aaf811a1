"""Sphinx makes the site from the same pages that are read on the repository: `sphinx-build -W -q docs site`.

The pages stay plain Markdown. What only the site needs is made here, from `docs/README.md`: the page order and the
links to what lies outside `docs/`. Nothing is fetched while building, and the site loads nothing from elsewhere.
"""

import os
import pathlib
import re
import tomllib
from collections.abc import Iterator
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
TOP = {
    "README.md": "readme",
    "SECURITY.md": "security-policy",
    "CONTRIBUTING.md": "contributing",
    "CHANGELOG.md": "changelog",
}
"""Pages beside docs/ that are part of the site, with their names there."""

FENCE = re.compile(r"(^```.*?^```$)", re.M | re.S)
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")
HEADING = re.compile(r"^## (.+)$", re.M)

project = "DAC"
author = "the DAC authors"
version = release = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
html_title = f"DAC {release}"
extensions = ["myst_parser"]
root_doc = "index"
myst_heading_anchors = 3
smartquotes = False
# Examples leave things out with "…", which is no valid JSON; they are shown without colours then.
suppress_warnings = ["misc.highlighting_failure"]
html_theme = "furo"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False


def pages() -> dict[pathlib.Path, str]:
    """Every page of the site: its file and its name there. The index of a folder is its README.md."""
    found = {ROOT / name: page for name, page in TOP.items()}
    for file in sorted(HERE.rglob("*.md")):
        name = file.relative_to(HERE).with_suffix("").as_posix()
        found[file] = re.sub(r"(^|/)README$", r"\1index", name)
    return found


def prose_of(text: str) -> Iterator[tuple[bool, str]]:
    """The parts of a page: (whether it is prose, text). Blocks of code are left alone."""
    for part in FENCE.split(text):
        yield not part.startswith("```"), part


def rewritten(file: pathlib.Path, text: str, known: dict[pathlib.Path, str]) -> str:
    """The page with its links as the site needs them: to pages of the site, or plain paths."""
    folder = pathlib.PurePosixPath(known[file]).parent

    def link(found: re.Match[str]) -> str:
        words, target = found[1], found[2]
        path, _, anchor = target.partition("#")
        if not path or re.match(r"[a-z]+:", target):
            return found[0]
        meant = pathlib.Path(os.path.normpath(file.parent / path))
        meant = meant if meant in known else meant / "README.md"
        if meant in known:
            to = os.path.relpath(f"/{known[meant]}.md", f"/{folder}")
            return f"[{words}]({to}{'#' + anchor if anchor else ''})"
        if not (file.parent / path).exists():
            return found[0]
        shown = os.path.relpath(os.path.normpath(file.parent / path), ROOT)
        return f"`{shown}`" if words.strip("`") == shown else f"{words} (`{shown}`)"

    return "".join(LINK.sub(link, part) if prose else part for prose, part in prose_of(text))


def contents(name: str, text: str) -> str:
    """The hidden tables of contents of an index, one for each of its sections: what it links to, in its order."""
    listed: set[str] = set()
    made = []
    sections = HEADING.split("".join(part for prose, part in prose_of(text) if prose))
    for caption, body in zip(["", *sections[1::2]], sections[0::2], strict=True):
        targets = [target.partition("#")[0].removesuffix(".md") for _, target in LINK.findall(body)]
        own = [one for one in dict.fromkeys(targets) if one not in listed and not re.match(r"[a-z]+:", one)]
        listed.update(own)
        if own:
            title = [f":caption: {caption}"] if caption and name == root_doc else []
            made.append("\n".join(["```{toctree}", ":hidden:", *title, "", *own, "```"]))
    return "\n\n".join(made)


def stage(folder: pathlib.Path) -> None:
    """Writes the pages as the site needs them into `folder`. What has not changed is not touched."""
    known = pages()
    for file, name in known.items():
        text = rewritten(file, file.read_text(), known)
        if name.rpartition("/")[2] == "index":
            text = f"{text}\n{contents(name, text)}\n"
        target = folder / f"{name}.md"
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists() or target.read_text() != text:
            target.write_text(text)
    for old in set(folder.rglob("*.md")) - {folder / f"{name}.md" for name in known.values()}:
        old.unlink()


def setup(app: Any) -> None:
    """Called by Sphinx before it looks for pages."""
    folder = pathlib.Path(app.doctreedir) / "pages"
    stage(folder)
    app.srcdir = folder
    # A page's sidebar changes when another page comes: all are written anew, which takes seconds.
    app.connect("env-get-outdated", lambda app, env, added, changed, removed: sorted(env.found_docs))
