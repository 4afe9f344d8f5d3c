"""Include files of the repository, such as CONTRIBUTING.md, as pages of the documentation.

A line ``<!-- include PATH -->`` in a page is replaced by the content of PATH, which is relative to
the repository. Links in that content are relative to its own folder, as code hosts expect. They are
converted to links between pages: a link to a file below docs/ becomes a link to its page, and a
link to a file that a page includes becomes a link to that page. A link to anything else, such as
the licence, becomes plain text.
"""

import os
import re
from pathlib import Path
from typing import Any

INCLUDE = re.compile(r"^<!-- include (\S+) -->$", re.MULTILINE)
LINK = re.compile(r"\[(?P<text>[^\[\]]*)\]\((?P<target>[^()\s#]+)(?P<anchor>#[^()\s]*)?\)")


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """Put the included files into a page.

    Args:
        markdown: The text of the page.
        page: The page, of MkDocs.
        config: The configuration of MkDocs.
        files: All files of the site.

    Returns:
        The text with the files in it.
    """
    docs = Path(config.docs_dir)
    pages = {
        (docs.parent / path).resolve(): docs / file.src_uri
        for file in files.documentation_pages()
        for path in INCLUDE.findall(file.content_string)
    }
    here = (docs / page.file.src_uri).parent

    def include(match: re.Match[str]) -> str:
        source = docs.parent / match[1]

        def relink(link: re.Match[str]) -> str:
            if ":" in link["target"]:
                return link[0]
            path = (source.parent / link["target"]).resolve()
            path = pages.get(path, path)
            if not path.is_relative_to(docs):
                return link["text"]
            return f"[{link['text']}]({os.path.relpath(path, here)}{link['anchor'] or ''})"

        return LINK.sub(relink, source.read_text(encoding="utf-8"))

    return INCLUDE.sub(include, markdown)
