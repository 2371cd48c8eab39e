"""What a report is about, as its page says at the head."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Subject:
    """What was evaluated.

    Attributes:
        dataset: YAML file of the dataset.
        run: folder of the run.
        version: that the model was pushed as; empty where it was not.
        date: of the report, in UTC.
        card: the model's, see `components.trainer.serving.ModelCard`.
    """

    dataset: str
    run: str
    version: str
    date: datetime.datetime
    card: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Organisms and assemblies."""
        return ", ".join(
            f"{organism} ({data['assembly']})" if data["assembly"] else organism
            for organism, data in self.card["organisms"].items()
        )

    @property
    def rows(self) -> list[tuple[str, str]]:
        """What is said of it at the head of the page."""
        lineage, code = self.card["lineage"], self.card["code"]
        start = lineage["started_from"]
        tracks = (f"{len(data['tracks']):,} of {organism}" for organism, data in self.card["organisms"].items())
        return [
            ("dataset", self.dataset or "not known"),
            ("organism (assembly)", self.name),
            ("tracks", ", ".join(tracks)),
            ("run", self.run or "not known"),
            ("pushed as version", self.version or "not pushed"),
            ("weights", f"of step {lineage['step']}, seed {lineage['seed']}, started from {start}"),
            (
                "window",
                f"{self.card['window_length']:,} bp; {self.card['target_length']} bins of "
                f"{self.card['bin_size']} bp are predicted",
            ),
            ("code", f"enformer-keras {code['version']}, {code['fingerprint'][:12]}"),
            ("date", f"{self.date:%Y-%m-%d %H:%M} UTC"),
        ]
