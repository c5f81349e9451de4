"""The scoreboard: the scorecards and claims of all labs, of a run or of the reference, gathered."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from labsupport.core.errors import LabError
from labsupport.records.claim_table import lab_claims
from labsupport.records.claims import Claim
from labsupport.records.definitions import CLAIMS, read_definitions
from labsupport.records.reference import REFERENCE
from labsupport.records.scorecard import COLUMNS
from labsupport.records.tables import read_table

TEXTS = ["lab", "method", "variant", "dataset", "profile", "network", "base", "runtime", "device"]
FIGURES = [name for name in COLUMNS if name not in TEXTS]
NEEDED = ["lab", "method", "variant", "dataset", "profile", "seed", "accuracy"]
TIME = "latency_b1_anchor_ratio_clocked"
LAB_FOLDER = re.compile(r"\d\d_\w+")


@dataclass(frozen=True)
class Scoreboard:
    """What all labs of one source left: scorecards, claims, and what is wrong or missing.

    `scorecards` has the columns of this version; what an older table lacks is empty. `claims` has a
    row per claim with its verdict. `folders` has each lab's tables by its number, `problems` a line
    per lab that is not all there.
    """

    source: str
    scorecards: pd.DataFrame
    claims: pd.DataFrame
    folders: Mapping[str, Path]
    problems: Mapping[str, str]

    def __repr__(self) -> str:
        cards, claims, labs = len(self.scorecards), len(self.claims), len(self.folders)
        head = f"{self.source}: {cards} scorecards and {claims} claims of {labs} labs"
        return "\n".join([head, *(f"  {lab}: {what}" for lab, what in self.problems.items())])

    def table(self, number: str, name: str, columns: Sequence[str]) -> pd.DataFrame:
        """These columns of a lab's own table; without rows where the lab left no such table."""
        path = self.folders.get(number, Path()) / f"{name}.csv"
        return (read_table(path) if path.is_file() else _empty()).reindex(columns=[*columns])


def reference_scoreboard(course: Path, labs: int) -> Scoreboard:
    """What the first `labs` labs left in the reference. Raises LabError if none was clocked."""
    board = gather(course / REFERENCE, "the reference", course, labs)
    if board.scorecards[TIME].isna().all():
        problem = "the reference has no scorecards with a time"
        raise LabError(problem, "get data/reference back, or run the labs: `labs run`")
    return board


def run_scoreboard(out: Path, course: Path, labs: int) -> Scoreboard | None:
    """What the first `labs` labs left in a run's folder; None if none left scorecards."""
    board = gather(Path(out) / "tables", "this run", course, labs)
    return None if board.scorecards.empty else board


def gather(folder: Path, source: str, course: Path, labs: int) -> Scoreboard:
    """The tables in a folder with one of its own for each lab; those of later labs are left out.

    What is missing, damaged or of another version is named in `problems`, and the rest is gathered.
    Raises LabError where the course's file of claims cannot be read.
    """
    found = {path.name[:2]: path for path in sorted(folder.glob("*")) if _of_lab(path, labs)}
    read = {path.name: _read_lab(path, course) for path in found.values()}
    problems = {lab: "; ".join(faults) for lab, (_, _, faults) in read.items() if faults}
    if missing := [f"{n:02}" for n in range(labs) if f"{n:02}" not in found]:
        problems["missing"] = f"labs {', '.join(missing)}"
    cards = _stacked([_empty(COLUMNS), *(cards for cards, _, _ in read.values())])
    claims = _stacked([_claim_rows("", []), *(claims for _, claims, _ in read.values())])
    return Scoreboard(source, cards, claims, found, problems)


def _of_lab(path: Path, labs: int) -> bool:
    return LAB_FOLDER.fullmatch(path.name) is not None and int(path.name[:2]) < labs


def _read_lab(folder: Path, course: Path) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """A lab's scorecards, its claims, and what is wrong with them."""
    definitions = read_definitions(course / CLAIMS)
    try:
        cards, faults = _scorecards(read_table(folder / "scorecards.csv"))
    except LabError:
        cards, faults = _empty(COLUMNS), ["no readable scorecards"]
    try:
        claims = lab_claims(folder / "claims.csv", folder.name, definitions, {})
    except LabError:
        claims, faults = [], [*faults, "no readable claims"]
    return cards, _claim_rows(folder.name, claims), faults


def _scorecards(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Scorecards in the columns of this version, and what of another version is wrong with them."""
    other = "its scorecards are of another version"
    if lacking := [name for name in NEEDED if name not in table]:
        return _empty(COLUMNS), [f"{other}, without {', '.join(lacking)}"]
    absent = len(set(COLUMNS) - set(table))
    faults = [f"{other}, {absent} columns stay empty"] if absent else []
    try:
        return table.reindex(columns=COLUMNS).astype(dict.fromkeys(FIGURES, float)), faults
    except ValueError:
        return _empty(COLUMNS), ["its scorecards have words in place of numbers"]


def _claim_rows(lab: str, claims: Iterable[Claim]) -> pd.DataFrame:
    columns = ["id", "statement", "measured", "aim", "verdict", "required", "clocked"]
    columns += ["source", "figure"]
    rows = [{"lab": lab, **{name: getattr(claim, name) for name in columns}} for claim in claims]
    return pd.DataFrame(rows, columns=["lab", *columns])


def _empty(columns: Sequence[str] = ()) -> pd.DataFrame:
    return pd.DataFrame(columns=[*columns])


def _stacked(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The frames one under the other; empty ones say only which columns there are."""
    filled = [frame for frame in frames if len(frame)]
    return pd.concat(filled, ignore_index=True) if filled else frames[0]
