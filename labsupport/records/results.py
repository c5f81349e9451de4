"""What a lab leaves on disk: tables, scorecards, claims and figures, each file whole or absent."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from labsupport.core.errors import LabError
from labsupport.core.files import atomic_write
from labsupport.records import claims as claims_module
from labsupport.records.claims import Claim, Relation
from labsupport.records.scorecard import Scorecard, as_frame, is_clocked

CLAIM_COLUMNS = [
    *("id", "lab", "statement", "measured", "relation", "bound", "holds", "required"),
    *("seed_value", "source", "profile", "dataset", "clocked"),
]


@dataclass
class Results:
    """The record of one lab in one run's folder `out`.

    Tables go to `out/tables/LAB/NAME.csv`, figures to `out/figures/LAB/NAME.png`, trained
    networks to `out/cache`, records of sweeps to `out/sweeps/LAB`. Each call writes its file at
    once, so a stopped lab keeps what it had. Of a data set given by path only the last part is
    kept.
    """

    lab: str
    profile: str
    dataset: str
    out: Path = Path("../runs/interactive")
    _cards: dict[tuple[str, str, int], Scorecard] = field(default_factory=dict, repr=False)
    _claims: dict[str, Claim] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.dataset = short_name(self.dataset)

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
        **measured: float | int | None,
    ) -> Scorecard:
        """Add a scorecard; `measured` are its columns by name."""
        unknown = sorted(set(measured) - set(Scorecard.__dataclass_fields__))
        if unknown:
            raise LabError(f"a scorecard has no column {', '.join(unknown)}", "see Scorecard")
        card = Scorecard(
            self.lab,
            method,
            variant,
            self.dataset,
            self.profile,
            seed,
            **measured,  # type: ignore[arg-type]
        )
        self._keep([card])
        return card

    def score_rows(self, method: str, rows: pd.DataFrame) -> pd.DataFrame:
        """Add a scorecard per row and give these back as a table.

        `rows` has the columns variant and seed; of its others those of a scorecard are taken.
        """
        fixed = {"lab": self.lab, "method": method, "dataset": self.dataset}
        columns = [name for name in Scorecard.__dataclass_fields__ if name in rows]
        complete = rows[columns].assign(**fixed, profile=self.profile)
        cards = [
            Scorecard(**{str(name): value for name, value in row.items()})
            for row in complete.to_dict("records")
        ]
        self._keep(cards)
        return as_frame(cards)

    def claim(
        self,
        id: str,
        statement: str,
        measured: float,
        relation: Relation = "reported",
        bound: float | None = None,
        *,
        required: bool = False,
        clocked: bool = False,
        seed: float | None = None,
        source: str = "",
    ) -> Claim:
        """Check a sentence against the measured number, store it, and give it back to be shown."""
        measured = float(measured)
        claim = Claim(id, statement, measured, relation, bound, required, clocked, seed, source)
        self._claims[id] = claim
        self.table("claims", self._claim_frame())
        return claim

    def scorecards(self) -> pd.DataFrame:
        """All scorecards of this lab so far."""
        return as_frame(list(self._cards.values()))

    def claims(self) -> ClaimList:
        """All claims of this lab so far, as a table to be shown."""
        return ClaimList(list(self._claims.values()))

    def _keep(self, cards: list[Scorecard]) -> None:
        """Add cards; one of the same method, variant and seed, as of a cell run again, goes."""
        self._cards |= {(card.method, card.variant, card.seed): card for card in cards}
        self.table("scorecards", self.scorecards())

    def _claim_frame(self) -> pd.DataFrame:
        fixed = {"lab": self.lab, "profile": self.profile, "dataset": self.dataset}
        rows = [asdict(c) | {"holds": c.holds} | fixed for c in self._claims.values()]
        return pd.DataFrame(rows, columns=CLAIM_COLUMNS)

    def _folder(self, kind: str) -> Path:
        return Path(self.out) / kind / self.lab


@dataclass(frozen=True)
class ClaimList:
    """Claims shown together as one table."""

    items: list[Claim]

    def _repr_html_(self) -> str:
        return claims_module.html_table(self.items)

    def __repr__(self) -> str:
        return "\n".join(
            f"{c.id}: {claims_module.number(c.measured)} ({c.verdict})" for c in self.items
        )


def short_name(dataset: str) -> str:
    """A data set's name without the folders of `csv:PATH` and `folder:PATH`, to be handed in."""
    kind, colon, path = dataset.partition(":")
    return f"{kind}:{Path(path).name}" if colon else dataset


def write_table(path: Path, frame: pd.DataFrame) -> None:
    """Write a table as CSV, whole or not at all."""
    with atomic_write(path) as temporary:
        frame.to_csv(temporary, index=False)


def read_tables(out: Path, name: str) -> pd.DataFrame:
    """The tables called `name` of all labs in a run's folder, one under the other.

    Raises LabError for a table that cannot be read.
    """
    frames = [read_table(path) for path in sorted((out / "tables").glob(f"*/{name}.csv"))]
    frames = [frame for frame in frames if len(frame)]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def read_table(path: Path) -> pd.DataFrame:
    """A table from disk. Raises LabError when it is absent or is no CSV."""
    try:
        return pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise LabError(f"{path} is not a table: {error}", "run the lab again") from error


def counted(frame: pd.DataFrame) -> pd.DataFrame:
    """The part of a table that repeats exactly: without clocked columns and clocked claims."""
    if "clocked" in frame:
        frame = frame[~frame["clocked"].astype(bool)]
    return frame[[column for column in frame if not is_clocked(str(column))]].reset_index(drop=True)


def counted_tables(out: Path) -> dict[str, pd.DataFrame]:
    """Every table of a run, by `LAB/NAME`, without what depends on the machine's speed."""
    paths = sorted((out / "tables").glob("*/*.csv"))
    return {f"{path.parent.name}/{path.stem}": counted(read_table(path)) for path in paths}
