"""A plain function called on a list of trials: one table, a row kept as each trial ends."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from labsupport.core.errors import LabError
from labsupport.core.files import append_line
from labsupport.core.names import NAME
from labsupport.training.sources import code_fingerprint

Trial = Mapping[str, Any]  # arguments of the function by name, as JSON knows them
Measured = Mapping[str, Any]  # what it gives back, by column
Line = dict[str, Any]  # trial, code, figures, error, seconds
PARTS = {"trial": dict, "code": str, "figures": dict, "error": str, "seconds": int | float}
RESERVED = ("error", "trial_seconds")  # columns of the table beside arguments and figures


@dataclass(frozen=True)
class Sweep:
    """The record of a sweep at `path`: a line of JSON for each trial that ended.

    Lines are only ever added, each one whole and on the disk before the next; what a stop has torn
    off, or is damaged, is passed over, so that its trial runs again. A trial is known by its
    arguments, and by the code of what they name as `package.module:function`, so a function that
    changes in anything else needs another path.
    """

    path: Path

    def run(
        self,
        function: Callable[..., Measured],
        trials: Iterable[Trial],
        executor: Executor | None = None,
        progress: bool = False,
    ) -> pd.DataFrame:
        """Call `function(**trial)` for all trials not yet on record; then the table of `trials`.

        Its figures are named other than its arguments, and not error or trial_seconds.
        `executor` is any of `concurrent.futures`, for a function that it can send to its workers;
        without one the trials run here, in order. A trial that raises is a row with its error, and
        is tried again by the next call. `progress` shows a bar. Raises LabError for arguments that
        JSON does not know, and when the executor breaks; what had ended until then is kept.
        """
        wanted = {key_of(trial): dict(trial) for trial in trials}
        ended = {key for key, line in self._lines().items() if not line["error"]}
        missing = [trial for key, trial in wanted.items() if key not in ended]
        codes = {key_of(trial): code_of(trial) for trial in missing}
        outcomes = _outcomes(function, missing, executor)
        for line in tqdm(outcomes, total=len(missing), unit="trial", disable=not progress):
            append_line(self.path, json.dumps(line | {"code": codes[key_of(line["trial"])]}))
        return self.table(wanted.values())

    def table(self, trials: Iterable[Trial] | None = None) -> pd.DataFrame:
        """A row per ended trial, in the order of `trials` or, without them, in that of ending.

        Columns: the arguments, the figures, error (empty if there was none) and trial_seconds.
        """
        lines = self._lines()
        keys = lines if trials is None else [key for key in map(key_of, trials) if key in lines]
        return pd.DataFrame([_row(lines[key]) for key in keys])

    def _lines(self) -> dict[str, Line]:
        """The last line of each trial by its key, unless the code that it names has changed."""
        if not self.path.exists():
            return {}
        read = map(_read, self.path.read_bytes().splitlines())
        lines = {key_of(line["trial"]): line for line in read if line}
        return {key: line for key, line in lines.items() if line["code"] == code_of(line["trial"])}


def finished(table: pd.DataFrame) -> pd.DataFrame:
    """The table of a sweep in which every trial went well, without its column of errors.

    Raises LabError, with the first error, if there are trials that did not, or no trials at all.
    """
    if table.empty:
        raise LabError("a sweep without trials", "give it at least one")
    errors = table.loc[table["error"] != "", "error"]
    if len(errors):
        raise LabError(
            f"{len(errors)} of {len(table)} trials failed; the first: {errors.iloc[0]}",
            "run again: only these are tried",
        )
    return table.drop(columns="error")


def key_of(trial: Trial) -> str:
    """The same text for the same arguments in any order. Raises LabError for what JSON is not."""
    try:
        return json.dumps(dict(trial), sort_keys=True)
    except (TypeError, ValueError) as error:
        problem = f"a trial of {dict(trial)} cannot be written down ({error})"
        raise LabError(problem, "give numbers, texts, lists and None") from None


def code_of(trial: Trial) -> str:
    """Digits that change with the code of what a trial names; empty where it names nothing."""
    texts = [value for value in trial.values() if isinstance(value, str)]
    modules = {text.partition(":")[0] for text in texts if NAME.fullmatch(text)}
    return code_fingerprint(modules) if modules else ""


def _outcomes(
    function: Callable[..., Measured], trials: Sequence[Trial], executor: Executor | None
) -> Iterator[Line]:
    attempt = partial(_attempt, function)
    if executor is None:
        yield from map(attempt, trials)
        return
    futures = {_submitted(executor, attempt, trial): trial for trial in trials}
    problems: list[LabError] = []
    try:
        for future in as_completed(futures):
            try:
                line = _result(future, futures[future])
            except LabError as problem:  # raised at the end: first comes what else has ended
                problems.append(problem)
            else:
                yield line
    finally:
        for future in futures:
            future.cancel()
    if problems:
        raise problems[0]


def _submitted(executor: Executor, attempt: Callable[[Trial], Line], trial: Trial) -> Future[Line]:
    """The future of a trial; one that could not be sent has failed already."""
    try:
        return executor.submit(attempt, trial)
    except BrokenExecutor as broken:
        return _failed(broken)
    except Exception as error:  # each executor has its own for what cannot be pickled
        problem = f"a trial cannot be sent to the workers ({type(error).__name__}: {error})"
        hint = "let the function use nothing that cannot be pickled, or run it without workers"
        return _failed(LabError(problem, hint))


def _failed(error: Exception) -> Future[Line]:
    future: Future[Line] = Future()
    future.set_exception(error)
    return future


def _attempt(function: Callable[..., Measured], trial: Trial) -> Line:
    """A line about one trial, whatever happens in it. Runs where the executor runs it."""
    started = time.perf_counter()
    figures: Measured = {}
    error = ""
    try:
        figures = dict(function(**trial))
        json.dumps(figures)
        if taken := {*figures} & {*trial, *RESERVED}:
            raise ValueError(f"no figure may have the name {', '.join(sorted(taken))}")
    except Exception as raised:  # any mistake of a trial is a result of the sweep
        figures, error = {}, f"{type(raised).__name__}: {raised}"
    seconds = time.perf_counter() - started
    return {"trial": dict(trial), "figures": figures, "error": error, "seconds": seconds}


def _result(future: Future[Line], trial: Trial) -> Line:
    """What a future came to; a worker that died is the error of the trial that it was at."""
    try:
        return future.result()
    except LabError:
        raise
    except (BrokenExecutor, CancelledError) as broken:
        problem = f"the workers, or their scheduler, are gone ({type(broken).__name__} {broken})"
        raise LabError(problem, "run again: the trials that ended are kept") from broken
    except Exception as lost:  # the executor's own error for a worker that died
        error = f"{type(lost).__name__}: {lost}"
        return {"trial": dict(trial), "figures": {}, "error": error, "seconds": 0.0}


def _read(line: bytes) -> Line | None:
    """A line, or None for one that is not whole: torn off by a stop, or damaged."""
    try:
        parsed = json.loads(line)
    except ValueError:  # also for what is not UTF-8
        return None
    whole = isinstance(parsed, dict) and all(
        isinstance(parsed.get(name), kind) for name, kind in PARTS.items()
    )
    return parsed if whole else None


def _row(line: Line) -> Line:
    outcome = {"error": line["error"], "trial_seconds": line["seconds"]}
    return {**line["trial"], **line["figures"], **outcome}
