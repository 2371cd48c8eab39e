"""Adds up what groups of tests reported to pytest's junit files of a folder: the last line of tests/run.sh."""

import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path


def sum_of(folder: Path) -> str:
    """'N passed, N failed, N skipped' of all reports; an error before or after a test is a failure."""
    counts = Counter()
    for report in folder.glob("*.xml"):
        for suite in ElementTree.parse(report).iter("testsuite"):
            counts.update({kind: int(suite.get(kind)) for kind in ("tests", "failures", "errors", "skipped")})
    failed = counts["failures"] + counts["errors"]
    passed = counts["tests"] - failed - counts["skipped"]
    return f"{passed} passed, {failed} failed, {counts['skipped']} skipped"


if __name__ == "__main__":
    print(sum_of(Path(sys.argv[1])))
