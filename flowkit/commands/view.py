"""Define `flowkit view`, which shows a store in a browser."""

from pathlib import Path

import click
from click.core import ParameterSource

from flowkit.commands.options import PATH, store_argument
from flowkit.errors import UsageError


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
@click.option("--static", "static", metavar="OUT", type=PATH,
              help="Start no server: write a folder whose index.html shows the same, to open or to "
              "give away. What is computed when it is asked for, such as attention, is left "
              "out.")  # fmt: skip
@click.option("--limit", type=click.IntRange(1),
              help="With --static: write this many videos at most, evenly spaced over all. Needed "
              "beyond 500 videos or 2 GB.")  # fmt: skip
@click.pass_context
def view(
    context: click.Context,
    store: Path,
    runs: tuple[Path, ...],
    host: str,
    port: int,
    opens_browser: bool,
    static: Path | None,
    limit: int | None,
) -> None:
    """Show STORE in a browser: its numbers, its videos beside their flow, its runs.

    The page is served by this machine, by default to this machine alone, and nothing can be changed
    there.

    \b
    flowkit view S
    flowkit view S --run runs/cma --open
    flowkit view S --static page --limit 100
    """
    if static is not None:
        for name in ("host", "port"):
            if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
                raise UsageError(
                    f"--static starts no server, so --{name} has no effect; leave it out"
                )
        write_folder(store, runs, static, limit, opens_browser)
        return
    if limit is not None:
        raise UsageError("--limit goes with --static; the server shows all videos")
    from flowkit.web.server import serve_store

    serve_store(store, runs, click.echo, host=host, port=port, opens_browser=opens_browser)


def write_folder(
    store: Path, runs: tuple[Path, ...], out: Path, limit: int | None, opens_browser: bool
) -> None:
    """Write the folder of ``--static``, and open it if that is wanted.

    Raises:
        FormatError: There is no store.
        UsageError: The folder is not to be replaced, or the options do not fit the store.
        StoreError: A file cannot be written.
    """
    from flowkit.web.static_site import write_static_site

    page = write_static_site(store, runs, out, limit, click.echo)
    if opens_browser:
        import webbrowser

        webbrowser.open(page.as_uri())
