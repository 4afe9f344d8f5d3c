"""The HTML document: it names all modules of its page, so that they are loaded at once."""

import re

import pytest

from flowkit.web.pages import PAGE_MODULES, STATIC, list_modules


@pytest.mark.parametrize(
    ("path", "word"), [("/", ""), ("/browse", "browse"), ("/video/x", "video")]
)
def test_the_modules_of_a_page_are_named(get, path, word):
    html = get(path).content.decode()
    named = re.findall(r'rel="modulepreload" href="/static/([^"]+)"', html)
    assert named == list(list_modules(word))
    assert {"main.js", "dom.js", PAGE_MODULES[word]} <= set(named)
    for name in named:
        text = (STATIC / name).read_text()
        for other in re.findall(r'from "\./([^"]+)"', text):
            assert other in named


def test_a_page_of_a_plugin_names_what_all_pages_need(get):
    html = get("/runs").content.decode()
    named = re.findall(r'rel="modulepreload" href="/static/([^"]+)"', html)
    assert {"main.js", "dom.js"} <= set(named)
    assert not set(named) & set(PAGE_MODULES.values())


def test_the_pages_are_those_of_main_js():
    text = (STATIC / "main.js").read_text()
    assert dict(re.findall(r'\["(\w*)", \(\) => import\("\./([^"]+)"\)\]', text)) == PAGE_MODULES
