"""Build the documents and the reference of what is public as a site, and check its links: python scripts/build_site.py
[FOLDER]."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parents[1]
# Packages and modules whose `__all__` is public; all else may change without notice.
PUBLIC = {
    "dp3d_data": "geometry bodies matching datasets shards loader detection synthesis",
    "dp3d_model": "geometry bodies networks losses training lifting evaluation export",
}
# Public as a whole.
MODULES = ("dp3d_data.errors", "dp3d_data.records", "dp3d_data.datasets.fits", "dp3d_model.config")
BESIDE = ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "LICENSE", "NOTICE")
TESTED = re.compile(r"^```(\w+) run.*$", re.MULTILINE)  # blocks that a test runs
LINK = re.compile(r"\]\(([^)#\s]+)")


def public_packages() -> list[str]:
    """The packages that have something public."""
    return [f"{package}.{name}" for package, names in PUBLIC.items() for name in names.split()]


def public_names(package: str) -> dict[str, str]:
    """Each name of a package's `__all__` -> where it is defined, as a dotted name."""
    module = import_module(package)
    return {name: _origin(module, name) for name in module.__all__}


def _origin(module: ModuleType, name: str) -> str:
    """A class or function tells where it is from; a module is itself; a value is looked for in the modules of its
    package."""
    try:
        found = getattr(module, name)
    except AttributeError:
        found = import_module(f"{module.__name__}.{name}")
    if isinstance(found, ModuleType):
        return found.__name__
    if getattr(found, "__module__", "").startswith("dp3d_") and hasattr(found, "__qualname__"):
        return f"{found.__module__}.{found.__qualname__}"
    homes = [
        one
        for one in sys.modules
        if one.startswith(f"{module.__name__}.") and vars(sys.modules[one]).get(name) is found
    ]
    defines = [
        one
        for one in homes
        if re.search(rf"^{name}\b.*=", Path(str(sys.modules[one].__file__)).read_text("utf-8"), re.MULTILINE)
    ]
    return f"{defines[0] if defines else module.__name__}.{name}"


def write_sources(folder: Path) -> None:
    """The pages that mkdocs reads: README.md, the files beside it, docs/, and a page for each public package."""
    shutil.copytree(ROOT / "docs", folder / "docs")
    for name in BESIDE:
        shutil.copy(ROOT / name, folder / name)
    shutil.copy(ROOT / "README.md", folder / "index.md")
    for path in folder.rglob("*.md"):
        text = path.read_text(encoding="utf-8").replace("../README.md", "../index.md")
        for link in LINK.findall(text):
            _carry(link, path, folder)
        path.write_text(TESTED.sub(r"```\1", text), encoding="utf-8")
    (folder / "reference").mkdir()
    lines = ["# Reference", "", "What is public: these names stay, or `CHANGELOG.md` says what became of them.", ""]
    for package in (*public_packages(), *MODULES):
        lines += [f"- [{package}]({package}.md): {_first_line(package)}"]
        (folder / "reference" / f"{package}.md").write_text(_page(package), encoding="utf-8")
    (folder / "reference" / "index.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _carry(link: str, path: Path, folder: Path) -> None:
    """A file of the repository that a page links to comes along."""
    target = (path.parent / link).resolve()
    source = ROOT / target.relative_to(folder) if target.is_relative_to(folder) else target
    if not target.exists() and source.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


def _first_line(package: str) -> str:
    return (import_module(package).__doc__ or "").strip().splitlines()[0]


def _page(package: str) -> str:
    """A page of mkdocstrings: the names of the package, or a module as a whole."""
    head = [f"# {package}", ""] if package in MODULES else [f"# {package}", "", _first_line(package), ""]
    names = [package] if package in MODULES else set(public_names(package).values())
    wanted = sorted(names, key=lambda name: name.rpartition(".")[2].lower())
    options = ["    options:", "      show_root_heading: false"] if package in MODULES else []
    return "\n".join([*head, *(line for name in wanted for line in (f"::: {name}", *options, ""))])


class _Links(HTMLParser):
    """The anchors of a page, and what it links to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("id", "name") and value:
                self.anchors.add(value)
            if name in ("href", "src") and value:
                self.links.append(value)


def broken_links(site: Path) -> Iterator[str]:
    """Every local link of a built site that leads nowhere: a file that is missing, or an anchor."""
    pages = {
        path: _Links(path.read_text(encoding="utf-8"))
        for path in sorted(site.rglob("*.html"))
        if path.name != "404.html"
    }
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            missing = not target.is_file() or (
                target in pages and parts.fragment and unquote(parts.fragment) not in pages[target].anchors
            )
            if missing:
                yield f"{path.relative_to(site)}: {link}"


def main(site: Path) -> int:
    """Build, check, say where the site is."""
    sources = ROOT / "build" / "docs"
    shutil.rmtree(sources, ignore_errors=True)
    sources.mkdir(parents=True)
    write_sources(sources)
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(site)], cwd=ROOT, check=False
    )
    wrong = list(broken_links(site)) if not built.returncode else []
    print("\n".join(wrong) or f"open {site / 'index.html'}")
    return built.returncode or bool(wrong)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "site").resolve()))
