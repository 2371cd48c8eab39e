"""A hook of MkDocs: links from a page to files of the repository that are no pages become their plain text.

On the site there is nothing behind them; where the pages are read in the repository, the links work.
"""

import re
from typing import Any

# [text](../path) but for links to other pages (from `reference/` up to the pages beside it).
_OUTWARD = re.compile(r"\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(\.\./([^)#]+)(?:#[^)]*)?\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Returns the page with such links replaced."""
    if "/" in page.file.src_uri:
        return markdown
    return _OUTWARD.sub(r"\1", markdown)
