"""What is public exists and says what it is; the site of documents and reference builds, with no broken link."""

import inspect
from importlib import import_module

import pytest

from scripts.build_site import MODULES, broken_links, main, public_names, public_packages


@pytest.mark.parametrize("package", public_packages())
def test_public_names_exist_and_have_docstrings(package):
    names = public_names(package)
    assert names and list(names) == import_module(package).__all__
    for name, place in names.items():
        assert place.startswith(package.partition(".")[0]) and place.rpartition(".")[2] == name
        home, _, own = place.rpartition(".")
        found = (
            import_module(place)
            if inspect.ismodule(getattr(import_module(home), own, None))
            else getattr(import_module(home), own)
        )
        assert not (inspect.isclass(found) or inspect.isroutine(found)) or inspect.getdoc(found), (
            f"{package}.{name} has no docstring"
        )


@pytest.mark.slow
def test_the_site_builds_without_a_broken_link(tmp_path):
    pytest.importorskip("mkdocs", reason="needs pip install 'dp3d[docs]'")
    pytest.importorskip("mkdocstrings", reason="needs pip install 'dp3d[docs]'")
    site = tmp_path / "site"
    assert main(site) == 0
    assert (site / "index.html").is_file()
    for package in (*public_packages(), *MODULES):
        text = (site / "reference" / f"{package}.html").read_text(encoding="utf-8")
        places = public_names(package).values() if package not in MODULES else ()
        assert not [place for place in places if f'id="{place}"' not in text]


def test_broken_links_are_found(tmp_path):
    """A missing file, a missing anchor; what is there, and other hosts, are no faults."""
    (tmp_path / "a.html").write_text(
        '<h1 id="top"><a href="b.html#here">1</a><a href="b.html#gone">2</a><img src="c.png">'
    )
    (tmp_path / "b.html").write_text('<p id="here"><a href="https://example.org/x">4</a><a href="a.html">5</a>')
    assert list(broken_links(tmp_path)) == ["a.html: b.html#gone", "a.html: c.png"]
