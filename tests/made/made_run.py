"""A small made run for the tests of the report: what `labs run` would leave, without running."""

from base64 import b64encode
from io import BytesIO

import matplotlib.pyplot as plt
import nbformat
from made_claims import write_definitions, write_reference
from made_conditions import made_conditions
from nbformat import v4

from labsupport.records.results import Results
from labsupport.runs.record import LabRecord, RunRecord, write_record

EVIL = "<script>document.title = 'taken'</script>"

MATHEMATICS = r"""# A first lab

A layer costs $k^2 c_{in}$ MACs, see [the second](01_second.ipynb),
[a lab elsewhere](17_elsewhere.ipynb) and [a file elsewhere](../elsewhere/README.md).

$$\sum_{i=1}^{n} w_i x_i + b \ge 0$$

## Two lines

\begin{align}
P &= n_{in} n_{out} + n_{out} \\
M &= n_{in} n_{out}
\end{align}

<details><summary>Hint</summary>

Count $b$ apart.

</details>
"""

RAN = made_conditions()
ERROR = {"error": "ZeroDivisionError: division by <zero>", "cell": 3}
LABS = {
    "00_first": LabRecord(
        title="A first lab",
        status="done",
        seconds=12.34,
        peak_memory_bytes=512000000,
        conditions=RAN,
    ),
    "01_second": LabRecord(title="A second lab", status="done", seconds=4.0, conditions=RAN),
    "02_failing": LabRecord(
        title="A lab that fails", status="failed", seconds=1.5, conditions=RAN, **ERROR
    ),
    "03_never_ran": LabRecord(title="A lab that waits", status="skipped", error="needs 02_failing"),
}

CLAIMS = {
    "00_first": [
        {
            "id": "mlp.parameters",
            "statement": "The MLP has as many parameters as we count",
            "relation": "==",
            "aim": 1_863_690,
            "required": True,
            "source": "a lab report",
            "figure": 1_800_000,
        },
        {
            "id": "mlp.accuracy",
            "statement": "It is accurate",
            "relation": ">=",
            "aim": {"quick": 0.985},
            "required": True,
        },
        {"id": "mlp.seconds", "statement": "It trains in", "clocked": True},
    ],
    "01_second": [
        {"id": "evil", "statement": f"A statement with {EVIL}", "relation": "<=", "aim": 2},
    ],
}


def make_run(folder):
    """Write a made run into `folder` and give the folder back."""
    notebooks = folder / "notebooks"
    write_notebook(notebooks / "00_first.ipynb", first_cells())
    write_notebook(notebooks / "01_second.ipynb", [v4.new_markdown_cell("# A second lab")])
    write_notebook(notebooks / "02_failing.ipynb", failing_cells())
    write_results(folder)
    write_made_record(folder, LABS)
    return folder


def write_made_record(folder, labs):
    """Write run.json of a quick run of `labs`, records by name."""
    started = "2026-09-28T14:03:21"
    write_record(folder, RunRecord(name=folder.name, profile="quick", started=started, labs=labs))


def write_notebook(path, cells):
    """Write a notebook of `cells` as an executed one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    notebook = v4.new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    notebook.metadata["language_info"] = {"name": "python", "pygments_lexer": "ipython3"}
    nbformat.write(notebook, path)


def executed(source, number, *outputs, tags=()):
    """A code cell with its outputs."""
    metadata = {"tags": list(tags)} if tags else {}
    outputs = list(outputs)
    return v4.new_code_cell(source, execution_count=number, outputs=outputs, metadata=metadata)


def shown(**data):
    """A displayed output; `_` in the names stands for `/`."""
    data = {name.replace("_", "/"): value for name, value in data.items()}
    return v4.new_output("display_data", data=data)


def first_cells():
    """Mathematics, a figure, a table, a folded solution and a removed cell."""
    table = '<table border="1" class="dataframe"><tr><th>macs</th></tr><tr><td>9</td></tr></table>'
    return [
        v4.new_markdown_cell(MATHEMATICS),
        executed("seed: int = 0", 1, tags=["parameters"]),
        executed("print('hello')", 2, v4.new_output("stream", name="stdout", text="hello\n")),
        executed("curve()", 3, shown(image_png=drawing(), text_plain="<Figure>")),
        executed("frame", 4, shown(text_html=table, text_plain="macs\n9")),
        executed("the_solution = 42", 5, tags=["hide-input"]),
        executed("cell_to_be_removed = 0", 6, tags=["remove-cell"]),
    ]


def failing_cells():
    """A lab that stopped at its third cell."""
    traceback = ["\x1b[31mZeroDivisionError\x1b[39m: division by <zero>"]
    error = v4.new_output(
        "error", ename="ZeroDivisionError", evalue="division by <zero>", traceback=traceback
    )
    return [
        v4.new_markdown_cell("# A lab that fails"),
        executed("x = 0", 1),
        executed("1 / x", 2, error),
        v4.new_code_cell("never_reached()"),
    ]


def drawing():
    """A small figure as PNG in base64."""
    figure, axes = plt.subplots(figsize=(4, 2.5))
    axes.plot([0, 1, 2], [0, 1, 4])
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=80)
    plt.close(figure)
    return b64encode(buffer.getvalue()).decode()


def write_results(folder):
    """Write claims of every verdict with their reference, and scorecards."""
    course = folder / "course"
    write_definitions(course, CLAIMS)
    write_reference(course, "00_first", {"mlp.accuracy": 0.9871})
    results = Results("00_first", "quick", "mnist5k", folder, course)
    results.score("baseline", "mlp", 0, accuracy=0.98765, macs=1_861_632, parameters=1_863_690)
    results.score("pruned", "half", 0, accuracy=0.97, macs=930_000, latency_b1_ms=1.23456)
    results.claims({"mlp.parameters": 1_863_690, "mlp.accuracy": 0.9, "mlp.seconds": 12.5})
    results.prediction("How many MACs?", 2_000_000, 1_861_632)
    results.prediction(EVIL, None, 0.5)
    Results("01_second", "quick", "mnist5k", folder, course).claims({"evil": 1.0})
