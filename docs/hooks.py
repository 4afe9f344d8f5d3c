"""Pages that are files of the repository, without a copy.

A line ``<!-- include PATH -->`` in a page stands for the text of PATH, which is relative to the
repository. Links in that text are relative to its own folder, as code hosts show them. Here they
become links to pages: a file below docs/ is itself, and a file that a page includes is that page.
What is not on the site, such as the licence, is named without a link.
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
