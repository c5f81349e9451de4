"""What a lab leaves on disk: tables, scorecards, claims and figures, each file whole or absent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from labsupport.core.course import course_root
from labsupport.core.errors import LabError
from labsupport.core.files import atomic_write
from labsupport.records.claim_table import ClaimTable, claim_frame
from labsupport.records.claims import Claim, judge
from labsupport.records.definitions import CLAIMS, read_definitions, short_name
from labsupport.records.predictions import (
    PREDICTIONS,
    Prediction,
    made_prediction,
    prediction_frame,
)
from labsupport.records.reference import reference_figures, reference_table
from labsupport.records.scorecard import Scorecard, as_frame
from labsupport.records.tables import write_table

Key = tuple[str, str, int, str | None, str]  # method, variant, seed, network, data set


@dataclass
class Results:
    """The record of one lab in one run's folder `out`.

    Tables go to `out/tables/LAB/NAME.csv`, figures to `out/figures/LAB/NAME.png`, trained
    networks to `out/cache`, records of sweeps to `out/sweeps/LAB`. Each call writes its file at
    once, so a stopped lab keeps what it had. Of a data set given by path only the last part is
    kept. `course` is the folder with the file of claims and the reference.
    """

    lab: str
    profile: str
    dataset: str
    out: Path = Path("../runs/interactive")
    course: Path = field(default_factory=course_root)
    _cards: dict[Key, Scorecard] = field(default_factory=dict, repr=False)
    _claims: dict[str, Claim] = field(default_factory=dict, repr=False)
    _predictions: dict[str, Prediction] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.dataset = short_name(self.dataset)
        self.course = Path(self.course)

    @property
    def cache(self) -> Path:
        """Where the run keeps its trained networks."""
        return Path(self.out) / "cache"

    @property
    def sweeps(self) -> Path:
        """Where the lab keeps the records of its sweeps: a stopped lab goes on with them."""
        return self._folder("sweeps")

    def table(self, name: str, frame: pd.DataFrame) -> pd.DataFrame:
        """Store a tidy table under `name` and give it back to be shown."""
        write_table(self._folder("tables") / f"{name}.csv", frame)
        return frame

    def figure(self, name: str, figure: Figure) -> None:
        """Store a figure under `name` as png."""
        with atomic_write(self._folder("figures") / f"{name}.png") as temporary:
            figure.savefig(temporary, format="png")

    def score(
        self,
        method: str,
        variant: str,
        seed: int,
        dataset: str | None = None,
        **measured: float | int | str | None,
    ) -> Scorecard:
        """Add a scorecard; `measured` are its columns by name.

        `dataset` is the set it was measured on, the lab's own by default.
        """
        unknown = sorted(set(measured) - set(Scorecard.__dataclass_fields__))
        if unknown:
            raise LabError(f"a scorecard has no column {', '.join(unknown)}", "see Scorecard")
        card = Scorecard(
            self.lab,
            method,
            variant,
            short_name(dataset or self.dataset),
            self.profile,
            seed,
            **measured,  # type: ignore[arg-type]
        )
        self._keep([card])
        return card

    def score_each(
        self,
        method: str,
        measured: Mapping[str, Mapping[str, Any]],
        seed: int,
        dataset: str | None = None,
        network: str | None = None,
    ) -> None:
        """Add a scorecard for each variant that `cards.measure` gives the figures of."""
        for variant, figures in measured.items():
            self.score(method, variant, seed, dataset, network=network, **figures)

    def score_rows(self, method: str, rows: pd.DataFrame) -> pd.DataFrame:
        """Add a scorecard per row and give these back as a table.

        `rows` has the columns variant and seed; of its others those of a scorecard are taken.
        Without a column dataset the rows were measured on the lab's own set.
        """
        fixed = {"lab": self.lab, "method": method, "profile": self.profile}
        columns = [name for name in Scorecard.__dataclass_fields__ if name in rows]
        datasets = map(short_name, rows.get("dataset", [self.dataset] * len(rows)))
        complete = rows[columns].assign(**fixed, dataset=list(datasets))
        cards = [
            Scorecard(**{str(name): value for name, value in row.items()})
            for row in complete.to_dict("records")
        ]
        self._keep(cards)
        return as_frame(cards)

    def claims(
        self,
        values: Mapping[str, float | None],
        bounds: Mapping[str, float | None] | None = None,
    ) -> ClaimTable:
        """Judge the claims of `values` by notebooks/claims.yaml, store them, and show all so far.

        `bounds` holds the aims that are computed in the run. A value of None says that this run
        has nothing to measure; NaN, that a number was looked for and not found, meets no aim.
        Raises LabError for an id that the lab does not have and for a missing computed aim.
        """
        definitions = read_definitions(self.course / CLAIMS)
        selected = definitions.select(self.lab, {**values, **(bounds or {})})
        profile = definitions.profile_with_aims(self.lab, self.profile, self.dataset)
        reference = reference_figures(self.course, self.lab)
        self._claims |= judge(selected, profile, values, bounds or {}, reference)
        claims = [self._claims[id] for id in definitions.of(self.lab) if id in self._claims]
        self.table("claims", claim_frame(claims, self.lab, self.profile, self.dataset))
        return ClaimTable(claims)

    def prediction(self, question: str, guess: float | None, answer: float) -> Prediction:
        """Keep the reader's guess at the answer to a question, and show both side by side.

        Raises LabError for a guess that is no number.
        """
        made = made_prediction(question, guess, answer)
        self._predictions[question] = made  # of a cell run again the last guess counts
        self.table(PREDICTIONS, prediction_frame(list(self._predictions.values())))
        return made

    def reference(self, name: str) -> pd.DataFrame:
        """The committed table `name` of this lab, measured on full MNIST.

        Raises LabError, with the tables there are, for another name.
        """
        return reference_table(self.course, self.lab, name)

    def beside_reference(
        self, frame: pd.DataFrame, name: str, on: list[str], columns: list[str]
    ) -> pd.DataFrame:
        """Numeric `columns` of this run's table beside those of the reference's table `name`.

        Rows are matched by the columns `on`, as means over whatever else sets rows apart, such as
        seeds; what one of the two lacks stays empty.
        """
        tables = {"this run": frame, "reference": self.reference(name)}
        means = {
            side: table.groupby(on, sort=False)[columns].mean() for side, table in tables.items()
        }
        sides = pd.concat(means, axis="columns").swaplevel(axis="columns")
        return sides[[(column, side) for column in columns for side in tables]]

    def with_reference(self, frame: pd.DataFrame, name: str) -> pd.DataFrame:
        """This run's rows and those of the reference's table `name`; the column `run` says whose.

        For figures. Raises LabError as `reference` does.
        """
        sides = {"this run": frame, "reference": self.reference(name)}
        return pd.concat(sides, names=["run"]).reset_index(0).reset_index(drop=True)

    def scorecards(self) -> pd.DataFrame:
        """All scorecards of this lab so far."""
        return as_frame(list(self._cards.values()))

    def _keep(self, cards: list[Scorecard]) -> None:
        """Add cards; one of the same key, as of a cell run again, goes."""
        self._cards |= {_key(card): card for card in cards}
        self.table("scorecards", self.scorecards())

    def _folder(self, kind: str) -> Path:
        return Path(self.out) / kind / self.lab


def _key(card: Scorecard) -> Key:
    network = None if pd.isna(card.network) else card.network
    return card.method, card.variant, card.seed, network, card.dataset
