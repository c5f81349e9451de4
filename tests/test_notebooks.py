"""What holds for every committed notebook: executed, clean, of a lab's shape, true to itself."""

import ast
import re
from decimal import Decimal
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbgrader.nbgraderformat import MetadataValidator
from nbgrader.preprocessors import ClearHiddenTests, ClearSolutions

from labsupport.records.definitions import read_definitions
from labsupport.runs.catalog import read_catalog
from labsupport.runs.profiles import all_parameters, load_profile

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
DEFINITIONS = read_definitions(NOTEBOOKS[0].parent / "claims.yaml")
each_lab = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
COMMON = {"profile", "data", "seed", "device", "threads", "out"}
SECTIONS = ["Predict first", "Claims", "Common mistakes", "Exercises", "Summary", "References"]


def read(path):
    return nbformat.read(path.open(encoding="utf-8"), as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def texts(notebook):
    return [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]


def parameters_cell(notebook):
    (cell,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    return cell


def exercises_of(notebook):
    """The text that opens the exercises."""
    return next(text for text in texts(notebook) if "## Exercises" in text)


def shown(notebook):
    """All text that the outputs show."""
    parts = []
    for cell in code_cells(notebook):
        for output in cell.outputs:
            parts.append(output.get("text", ""))
            parts += [str(v) for k, v in output.get("data", {}).items() if k.startswith("text/")]
    return "\n".join(parts)


def test_each_number_is_given_once_and_what_a_lab_needs_comes_before_it():
    assert len({path.name[:2] for path in NOTEBOOKS}) == len(NOTEBOOKS)
    for path in NOTEBOOKS:
        assert all(need < path.stem for need in read(path).metadata["labs"]["needs"])


@each_lab
def test_it_is_executed_in_order_without_an_error(path):
    cells = code_cells(read(path))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [o for cell in cells for o in cell.outputs if o.output_type == "error"]
    assert not [o for cell in cells for o in cell.outputs if o.get("name") == "stderr"]


@each_lab
def test_it_carries_nothing_of_the_machine_or_the_run(path):
    notebook = read(path)
    assert "papermill" not in notebook.metadata
    assert not [c for c in notebook.cells if {"papermill", "execution"} & set(c.metadata)]
    assert not re.search(r"/(root|home|work|tmp|Users|usr)/", shown(notebook))
    assert path.stat().st_size < 600_000


@each_lab
def test_it_has_the_sections_of_a_lab(path):
    notebook = read(path)
    assert max(len(cell.source.splitlines()) for cell in code_cells(notebook)) <= 30
    headings = re.findall(r"^##+ (.+)$", "\n".join(texts(notebook)), re.MULTILINE)
    found = [heading for heading in headings if heading in SECTIONS]
    assert found == SECTIONS
    assert {"title", "question", "needs", "minutes"} <= set(notebook.metadata["labs"])


def chapter_of(notebook):
    """The cells before the exercises."""
    sources = [cell.source for cell in notebook.cells]
    return notebook.cells[: sources.index(exercises_of(notebook))]


@each_lab
def test_it_reads_as_a_chapter_more_text_than_code_in_small_cells(path):
    cells = chapter_of(read(path))
    prose = [cell.source for cell in cells if cell.cell_type == "markdown"]
    code = [cell.source.split("\n") for cell in cells if cell.cell_type == "code"]
    lengths = [len([line for line in lines if line.strip()]) for lines in code]
    assert 30 <= len(cells) <= 45
    assert len(prose) >= len(code)
    assert len(" ".join(prose).split()) <= 1900
    assert np.median(lengths) <= 6
    assert np.percentile(lengths, 90) <= 15
    assert len(parameters_cell(read(path)).source.splitlines()) <= 18


@each_lab
def test_most_of_its_code_cells_repeat_to_the_letter(path):
    cells = code_cells(read(path))
    strict = [c for c in cells if "nbval-ignore-output" not in c.metadata.get("tags", [])]
    assert len(strict) >= 0.6 * len(cells)


@each_lab
def test_its_guesses_stand_before_the_answers_and_each_is_answered(path):
    sources = [cell.source for cell in code_cells(read(path))]
    (cell,) = [source for source in sources if re.match(r"guess_\w+ = None  # ", source)]
    guesses = re.findall(r"^(guess_\w+) = None  # .+$", cell, re.MULTILINE)
    assert len(guesses) == len(cell.splitlines())
    after = "\n".join(sources[sources.index(cell) + 1 :])
    assert all(re.search(rf"results\.prediction\([^)]*\b{name}\b", after) for name in guesses)


@each_lab
def test_solutions_and_hidden_tests_are_folded(path):
    for cell in code_cells(read(path)):
        tests = "### BEGIN HIDDEN TESTS" in cell.source
        if tests or cell.metadata.get("nbgrader", {}).get("solution"):
            assert cell.metadata.get("jupyter", {}).get("source_hidden"), cell.source
            assert "hide-input" in cell.metadata["tags"]


@each_lab
def test_it_asks_an_open_question_and_for_the_design_of_an_experiment(path):
    rubrics = [text for text in texts(read(path)) if "<summary>Rubric</summary>" in text]
    assert rubrics
    assert "design the experiment" in "\n".join(rubrics)


@each_lab
def test_its_parameters_are_plain_lines_with_the_common_ones(path):
    lines = parameters_cell(read(path)).source.splitlines()
    names = [re.fullmatch(r"(\w+): (int|float|str|bool) = .+?  # .+", line) for line in lines]
    assert all(names), [line for line, match in zip(lines, names, strict=True) if not match]
    assert {match[1] for match in names} >= COMMON


@each_lab
def test_its_one_claims_cell_reports_every_claim_and_no_aim_is_a_parameter(path):
    notebook = read(path)
    (given,) = [ids for cell in code_cells(notebook) for ids in reported_claims(cell.source)]
    assert given == list(DEFINITIONS.of(path.stem))
    assert "aim_" not in "".join(cell.source for cell in notebook.cells)


def reported_claims(source):
    """The ids that each call of `results.claims` in a cell reports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "results.claims":
            yield list(ast.literal_eval(ast.Tuple(node.args[0].keys, ast.Load())))


@each_lab
def test_figures_of_sources_that_a_claims_cell_compares_with_stand_in_the_file_of_claims(path):
    """A claims cell holds no figure of a source: its only numbers are indices and units."""
    (cell,) = [c for c in code_cells(read(path)) if list(reported_claims(c.source))]
    numbers = {float(n.value) for n in ast.walk(ast.parse(cell.source)) if is_number(n)}
    assert not numbers & {claim.figure for claim in DEFINITIONS.of(path.stem).values()}


def is_number(node):
    return isinstance(node, ast.Constant) and type(node.value) in (int, float)


@each_lab
def test_it_installs_nothing_and_leaves_the_path_alone(path):
    source = "\n".join(cell.source for cell in code_cells(read(path)))
    assert not re.search(r"sys\.path|pip install|conda install|^[!%]", source, re.MULTILINE)


@each_lab
def test_every_number_of_the_prose_is_printed_or_computed(path):
    """Numbers of four and more characters outside formulas, code, links and references.

    A share that is printed, 0.9156, may be stated in percent, 91.56.
    """
    notebook = read(path)
    prose = "\n".join(texts(notebook)).split("## References")[0]
    prose = re.sub(r"\$\$.*?\$\$|\$[^$]+\$|`[^`]+`|\(20\d\d\)|<[^>]+>", " ", prose, flags=re.DOTALL)
    stated = {n.rstrip(".,").replace(",", "") for n in re.findall(r"\.?\d[\d,.]*", prose)}
    stated = {Decimal(number) for number in stated if len(number) >= 4}
    source = "\n".join(cell.source for cell in code_cells(notebook))
    printed = re.findall(r"\d+(?:\.\d+)?", re.sub(r"[,_]", "", shown(notebook) + source))
    known = {Decimal(number) * factor for number in printed for factor in (1, 100)}
    assert stated <= known


@each_lab
def test_its_exercises_make_a_student_version(path):
    notebook = read(path)
    MetadataValidator().validate_nb(notebook)
    graded = [c for c in notebook.cells if c.metadata.get("nbgrader", {}).get("grade")]
    solutions = [c for c in notebook.cells if c.metadata.get("nbgrader", {}).get("solution")]
    assert 3 <= len(graded) <= 5
    assert len(solutions) >= len(graded)
    assert all("hide-input" in cell.metadata["tags"] for cell in solutions)
    for preprocessor in (ClearSolutions(), ClearHiddenTests()):
        notebook, _ = preprocessor.preprocess(notebook, {})
    student = "\n".join(cell.source for cell in notebook.cells)
    assert "SOLUTION" not in student
    assert "HIDDEN" not in student
    assert student.count("raise NotImplementedError") >= len(solutions)


@each_lab
def test_graded_cells_have_names_of_their_own_and_a_hint(path):
    notebook = read(path)
    names = [c.metadata.nbgrader.grade_id for c in notebook.cells if "nbgrader" in c.metadata]
    assert len(names) == len(set(names))
    exercises = [text for text in texts(notebook) if "### Exercise" in text]
    assert all("points" in part and "<details>" in part for part in exercise_texts(exercises))


def exercise_texts(cells):
    """Each exercise's text; a cell may open several that are answered in writing."""
    parts = [part for cell in cells for part in re.split(r"(?=^### Exercise)", cell, flags=re.M)]
    return [part for part in parts if part.startswith("### Exercise")]


@pytest.mark.parametrize("profile", ["quick", "lab", "full"])
def test_labs_that_share_networks_share_their_recipes(profile):
    """A lab reads back what an earlier one trained: the same recipe, or it trains anew."""
    catalog = read_catalog(NOTEBOOKS[0].parent)
    parameters = all_parameters(catalog)
    chosen = load_profile(profile, NOTEBOOKS[0].parent / "profiles", parameters)
    mlp, cnn, profiling, pruning, early_exit = (
        chosen.values(name, parameters[name])
        for name in (
            *("01_baseline_mlp", "02_baseline_cnn", "03_profiling"),
            *("08_filter_pruning", "09_early_exit"),
        )
    )
    assert cnn["pruning_epochs"] == pruning["pruning_epochs"]
    for lab in (cnn, profiling):
        own = [lab[f"mlp_{name}"] for name in ("epochs", "batch_size", "lr")]
        assert own == [mlp[name] for name in ("epochs", "batch_size", "lr")]
    for name in ("lenet_epochs", "rules_epochs", "batch_size", "lr"):
        assert cnn[name] == profiling[name], name
    for name in ("rules_epochs", "batch_size", "seeds"):
        assert cnn[name] == early_exit[name], name
    assert cnn["lr"] == 0.003  # written into lab 09, which has no parameter for it
