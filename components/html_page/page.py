"""Pages that need no script, no other file and no network; readable on a telephone and on paper."""

from __future__ import annotations

import base64
from typing import Any

import jinja2
import markupsafe

# A page fills `title` and `body`. In a table of class `rows` a cell may give its column's name as `data-name`:
# where there is no room for columns, a row is a line of named values.
_BASE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{% block title %}{% endblock %}</title>
<style>
body { font: 15px/1.45 sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; color: #222;
  overflow-wrap: anywhere }
table { border-collapse: collapse; margin: 1em 0 }
td, th { padding: .2em .9em .2em 0; text-align: left; border-bottom: 1px solid #ddd; vertical-align: top }
table.facts th { white-space: nowrap; font-weight: normal; color: #666 }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; overflow-wrap: normal }
.verdict { font-size: 1.3em; font-weight: bold }
.missed { color: #b00; font-weight: bold }
img { max-width: 100% }
@media screen and (max-width: 45em) {
  table.facts, table.facts tbody, table.facts tr, table.facts th, table.facts td { display: block }
  table.facts th { border: 0; padding-bottom: 0 }
  table.rows, table.rows tbody, table.rows tr { display: block }
  table.rows thead, table.rows td:empty { display: none }
  table.rows tr { border-bottom: 1px solid #ddd; padding: .3em 0 }
  table.rows td { display: inline-block; border: 0; padding: 0 1.2em 0 0 }
  table.rows td:first-child { display: block; font-weight: bold }
  table.rows td[data-name]::before { content: attr(data-name) " "; color: #666; font-weight: normal }
}
@media print {
  body { font-size: 10pt; max-width: none; margin: 0; padding: 0 }
  h1, h2, h3, h4 { break-after: avoid }
  tr, img { break-inside: avoid }
  img { max-height: 24cm }
}
</style>
</head>
<body>
{% block body %}{% endblock %}
</body>
</html>
"""


def render(template: str, **values: Any) -> str:
    """Makes a page.

    Args:
        template: Jinja, which begins with `{% extends "base" %}` and fills the blocks `title` and `body`. Its
            filter `breakable` lets a name such as `log1p_pearson_r` go on in the next line.
        **values: what it asks for.

    Returns:
        HTML; all text of the values is escaped.

    Raises:
        jinja2.UndefinedError: it asks for what there is not.
    """
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.DictLoader({"base": _BASE, "page": template}),
    )
    environment.filters["breakable"] = _breakable
    return environment.get_template("page").render(values)


def embed(png: bytes) -> str:
    """Returns a picture as the `src` of an `img`."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _breakable(name: str) -> markupsafe.Markup:
    return markupsafe.escape(name).replace("_", markupsafe.Markup("_<wbr>"))
