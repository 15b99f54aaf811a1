"""The site builds from docs/ without a warning, holds every page, and loads nothing from elsewhere."""

import importlib.util
import pathlib
import re
import subprocess
import sys
from types import ModuleType

import pytest

from mesh.app import ROOT

pytestmark = pytest.mark.timeout(180)
LOADED = re.compile(r"""<(?:script|img|iframe|source)\b[^>]*\bsrc=["']([^"']+)|<link\b[^>]*\bhref=["']([^"']+)""")
IMPORTED = re.compile(r"""@import|url\(\s*["']?(?:https?:)?//""")


@pytest.fixture(scope="module")
def conf() -> ModuleType:
    """docs/conf.py as Sphinx reads it."""
    spec = importlib.util.spec_from_file_location("docs_conf", ROOT / "docs" / "conf.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-d", str(folder / "trees")]
    done = subprocess.run([*command, str(ROOT / "docs"), str(folder / "html")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "html"


def test_every_page_is_there_and_in_the_sidebar(site: pathlib.Path, conf: ModuleType) -> None:
    names = set(conf.pages().values())
    assert names == {one.relative_to(site).with_suffix("").as_posix() for one in site.rglob("*.html")} - {
        "genindex",
        "search",
    }
    start = (site / "index.html").read_text()
    sidebar = start[start.index('class="sidebar-tree"') :]
    for name in names - {"index"}:
        assert f'href="{name}.html"' in sidebar, name


def test_the_site_loads_nothing_from_elsewhere(site: pathlib.Path) -> None:
    for page in site.rglob("*.html"):
        for found in LOADED.findall(page.read_text()):
            assert not re.match(r"(?:https?:)?//", "".join(found)), (page.name, found)
    for style in site.rglob("*.css"):
        assert not IMPORTED.search(style.read_text()), style.name


def test_links_between_pages_arrive(site: pathlib.Path) -> None:
    ids = {page: set(re.findall(r'\bid="([^"]+)"', page.read_text())) for page in site.rglob("*.html")}
    for page in ids:
        if page.stem in ("genindex", "search"):
            continue
        for target in re.findall(r'<a\b[^>]*\bhref="([^"]+)"', page.read_text()):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, anchor = target.partition("#")
            file = (page.parent / path).resolve() if path else page
            assert file in ids and (not anchor or anchor in ids[file]), f"{page.name}: {target}"


def test_links_out_of_the_site_become_paths(conf: ModuleType) -> None:
    known = conf.pages()
    page = ROOT / "docs" / "benchmarks.md"
    text = (
        "[how](../bench/README.md) [`mesh/app.py`](../mesh/app.py) [me](../SECURITY.md#short) [g](gateway.md#chat)\n"
        "[x](https://x.example) [why](decisions) [gone](gone.md)\n```sh\necho [a](../bench/README.md)\n```\n"
    )
    assert conf.rewritten(page, text, known) == (
        "how (`bench/README.md`) `mesh/app.py` [me](security-policy.md#short) [g](gateway.md#chat)\n"
        "[x](https://x.example) [why](decisions/index.md) [gone](gone.md)\n```sh\necho [a](../bench/README.md)\n```\n"
    )
    decision = ROOT / "docs" / "decisions" / "0004-one-round-trip.md"
    assert (
        conf.rewritten(decision, "[b](../budget.md) [r](../../README.md)", known)
        == "[b](../budget.md) [r](../readme.md)"
    )


def test_the_order_of_an_index_is_its_own(conf: ModuleType) -> None:
    text = (
        "[z](z.md)\n\n## One\n\n| [b](b.md) | [a](a.md#x) |\n\n## Two\n\n[b](b.md) [c](c.md) [d](https://d.example)\n"
    )
    made = [line for line in conf.contents("index", text).splitlines() if line and "`" not in line]
    assert made == [
        ":hidden:",
        "z",
        ":hidden:",
        ":caption: One",
        "b",
        "a",
        ":hidden:",
        ":caption: Two",
        "c",
    ]
