"""A Sphinx extension: mathematics as MathML, written when the site is built.

Browsers draw MathML by themselves, so the pages need no script and no network.
"""

from __future__ import annotations

import re
from html import escape
from typing import Any, Literal
from xml.etree import ElementTree

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

# latex2mathml knows `align*`, lays out none of its relatives, and numbers every line of `align`.
RELATIVES = re.compile(r"\\(begin|end)\{(?:align|aligned|split|eqnarray\*?|gather\*?|gathered)\}")
WRAPPER = re.compile(r"\\(?:begin|end)\{(?:equation|displaymath)\*?\}|\\label\{[^}]*\}|\\nonumber")
SPACED_BREAK = re.compile(r"\\\\\s*\[[^\]]*\]")
ENVIRONMENT = re.compile(r"\\begin\{(\w+\*?)\}(?:(?!\\begin\{).)*?\\end\{\1\}", re.DOTALL)
BARE_AMPERSAND = re.compile(r"&(?!#?\w+;)")


def mathml(latex: str, display: Literal["inline", "block"] = "inline") -> str:
    """A formula as MathML; what cannot be converted stands as its source in `<code>`."""
    try:
        markup = convert(_plain(latex), display=display)
        markup = BARE_AMPERSAND.sub("&amp;", markup)
        root = ElementTree.fromstring(markup)
    except Exception:  # the converter has a dozen unrelated errors, and also lets IndexError out
        return _source(latex)
    unknown = any((element.text or "").startswith("\\") for element in root.iter())
    return _source(latex) if unknown else markup


def _source(latex: str) -> str:
    return f'<code class="formula">{escape(latex)}</code>'


def _plain(latex: str) -> str:
    """The formula in the part of LaTeX that the converter lays out well."""
    latex = WRAPPER.sub("", latex)
    latex = SPACED_BREAK.sub(r"\\\\", RELATIVES.sub(r"\\\1{align*}", latex)).strip()
    return rf"\begin{{align*}}{latex}\end{{align*}}" if r"\\" in _outside(latex) else latex


def _outside(latex: str) -> str:
    """What is left of a formula without its environments."""
    shorter = ENVIRONMENT.sub("", latex)
    return latex if shorter == latex else _outside(shorter)


def visit_math(self: HTML5Translator, node: nodes.math) -> None:
    """Write an inline formula."""
    self.body.append(mathml(node.astext()))
    raise nodes.SkipNode


def visit_math_block(self: HTML5Translator, node: nodes.math_block) -> None:
    """Write a displayed formula, with its number where it was given a label to refer to."""
    self.body.append(self.starttag(node, "div", CLASS="formula"))
    self.body.append(mathml(node.astext(), "block"))
    if node.get("number") and "amsmath" not in node["classes"]:
        self.body.append(f'<span class="eqno">({node["number"]})</span>')
    self.body.append("</div>\n")
    raise nodes.SkipNode


def unlink_absent(app: Sphinx, tree: nodes.document, docname: str) -> None:
    """Leave the words of links to files that are no page of this site, and drop the link."""
    for link in list(tree.findall(nodes.reference)):
        if "refid" in link and link["refid"] not in tree.ids:
            link.replace_self(link.children)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer with Sphinx under the name `mathml`."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
    app.connect("doctree-resolved", unlink_absent)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
