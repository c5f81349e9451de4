"""A Sphinx extension: mathematics as MathML, written when the site is built.

Browsers draw MathML by themselves, so the pages need no script and no network.
"""

from __future__ import annotations

import re
from html import escape
from typing import Any

from docutils import nodes
from math_core import LatexError, LatexToMathML
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

# Lines below each other; all are laid out as `aligned`, which numbers none of them.
ALIGNED = re.compile(r"\\(begin|end)\{(?:align|split|eqnarray|gather|equation)\*?\}")
LINE_SPACING = re.compile(r"\\\\\s*\[[^\]]*\]")


def mathml(latex: str, *, block: bool = False) -> str:
    """A formula as MathML; what cannot be converted stands as its source in `<code>`."""
    latex = LINE_SPACING.sub(r"\\\\", ALIGNED.sub(r"\\\1{aligned}", latex)).strip()
    if r"\\" in latex and r"\begin" not in latex:
        latex = rf"\begin{{aligned}}{latex}\end{{aligned}}"
    try:
        return LatexToMathML().convert_with_local_state(latex, displaystyle=block)
    except LatexError:
        return f'<code class="formula">{escape(latex)}</code>'


def visit_math(self: HTML5Translator, node: nodes.math | nodes.math_block) -> None:
    """Write a formula, inline or displayed."""
    block = isinstance(node, nodes.math_block)
    formula = mathml(node.astext(), block=block)
    self.body.append(f'<div class="formula">{formula}</div>\n' if block else formula)
    raise nodes.SkipNode


def unlink_absent(app: Sphinx, tree: nodes.document, docname: str) -> None:
    """Leave the words of links to files that are no page of this site, and drop the link."""
    for link in list(tree.findall(nodes.reference)):
        if "refid" in link and link["refid"] not in tree.ids:
            link.replace_self(link.children)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer with Sphinx under the name `mathml`."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math, None))
    app.connect("doctree-resolved", unlink_absent)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
