"""Show a store in a browser: a local page, read-only, and the same facts as JSON.

    server ─ app (routes) ─ safety (who may ask for what)
               ├─ overview, browse, video_facts, images    what the pages show (JSON and pictures)
               └─ templates/, static/                      the page: HTML, ES modules and CSS

The page asks the JSON API for everything. Nothing is written, and nothing is loaded from elsewhere.
Other packages add pages through the entry-point group ``flowkit.web`` (app.py).
"""
