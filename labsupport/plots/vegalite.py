"""Which Vega-Lite the course writes and draws: the latest that JupyterLab 4 draws by itself."""

VERSION = "5.8"
MIME_TYPE = "application/vnd.vegalite.v5+json"
SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"  # a name: nothing is fetched from there
