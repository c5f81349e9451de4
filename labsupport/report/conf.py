"""How Sphinx builds the site."""

project = html_title = "Efficient networks"

extensions = ["myst_nb", "labsupport.report.mathml"]

nb_execution_mode = "off"
nb_merge_streams = True
nb_ipywidgets_js: dict[str, object] = {}  # live widgets would load scripts from the network
nb_mime_priority_overrides = [("html", "application/vnd.jupyter.widget-view+json", None)]
nb_code_prompt_show = "Show {type}"
nb_code_prompt_hide = "Hide {type}"

myst_enable_extensions = ["amsmath", "dollarmath"]
myst_heading_anchors = 4
suppress_warnings = ["myst.xref_missing", "mystnb.unknown_mime_type"]

html_math_renderer = "mathml"
html_theme = "sphinx_book_theme"
html_static_path = ["static"]
html_css_files = ["report.css"]
html_copy_source = False
html_show_search_summary = False  # it would fetch pages, which browsers refuse under file://
html_show_sphinx = False
html_show_copyright = False
html_permalinks = False
html_domain_indices = False
html_use_index = False
html_context = {"default_mode": "auto"}  # light or dark, as the reader's system is
html_theme_options = {
    "home_page_in_toc": True,
    "navbar_start": [],
    "navbar_center": [],
    "navbar_end": [],
    "navbar_persistent": [],
    "use_download_button": False,
    "use_fullscreen_button": False,
    "show_toc_level": 2,
    "footer_content_items": [],
    # The wide tables of these pages need the room.
    "secondary_sidebar_items": {"**": ["page-toc.html"], "index": [], "machine": []},
}
