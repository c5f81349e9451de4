"""One style for all figures."""

from __future__ import annotations

import seaborn as sns

DPI = 80
COLUMN = (5.0, 3.4)
PAGE = (10.0, 3.4)


def use_style() -> None:
    """Set the labs' style: colorblind-safe, small files, sharp pixels, light grid."""
    changes = {
        "figure.dpi": DPI,
        "savefig.dpi": DPI,
        "figure.constrained_layout.use": True,
        "image.interpolation": "nearest",
        "image.cmap": "gray",
        "axes.grid": True,
        "grid.alpha": 0.3,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
        "axes.titlesize": "medium",
    }
    sns.set_theme(style="ticks", palette="colorblind", font_scale=0.9, rc=changes)
