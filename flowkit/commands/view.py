"""Define `flowkit view`, which shows a store in a browser."""

from pathlib import Path

import click

from flowkit.commands.options import PATH, store_argument


@click.command()
@store_argument
@click.option("--run", "runs", metavar="RUN", type=PATH, multiple=True,
              help="Show this run of `flowkit train` too; may be given several times.")  # fmt: skip
@click.option("--host", default="127.0.0.1", show_default=True,
              help="Address to listen on. On any other than this one, the page needs the token "
              "that is printed.")  # fmt: skip
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True,
              help="Port to listen on; the next free one is taken if it is in use.")  # fmt: skip
@click.option("--open", "opens_browser", is_flag=True, help="Open the page in a browser.")
def view(store: Path, runs: tuple[Path, ...], host: str, port: int, opens_browser: bool) -> None:
    """Show STORE in a browser: its numbers, its videos beside their flow, its runs.

    The page is served by this machine, to this machine alone, and nothing can be changed there.

    \b
    flowkit view S
    flowkit view S --run runs/cma --open
    """
    from flowkit.web.server import ServerOptions, serve_store

    options = ServerOptions(host=host, port=port, opens_browser=opens_browser)
    serve_store(store, runs, options, lambda line: click.echo(line, err=False))
