"""Every link of a document leads somewhere: to a file that is there, and to a heading that it has."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    path.relative_to(ROOT)
    for pattern in ("*.md", "docs/**/*.md", "benchmarks/*.md", "datasets/**/*.md", "tests/fixtures/*.md")
    for path in ROOT.glob(pattern)
)
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(\s*([^()\s]+)\s*\)")


def anchors(path):
    """Of a document's headings, as Markdown's readers make them."""
    headings = re.findall(r"^#+ (.*)$", FENCED.sub("", path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_links_lead_somewhere(document):
    lost = []
    for link in LINK.findall(FENCED.sub("", (ROOT / document).read_text())):
        name, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = (ROOT / document.parent / name).resolve() if name else ROOT / document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            lost.append(link)
    assert not lost


def test_every_page_is_on_the_site():
    """And the README leads to every task."""
    pages = {str(path.relative_to("docs")) for path in DOCUMENTS if path.parts[0] == "docs"}
    named = set(re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text()))
    assert named == pages
    tasks = {page for page in pages if "/" not in page} - {"index.md", "demo-model.md"}
    assert tasks == set(re.findall(r"\(docs/([\w-]+\.md)\)", (ROOT / "README.md").read_text()))


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_bytes()) <= 8_000
