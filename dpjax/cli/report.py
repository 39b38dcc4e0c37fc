"""``dpjax report``: sweeps as one HTML file, or a page that follows one while it runs."""

from pathlib import Path
from typing import Annotated

import typer


def report_command(
    directories: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR...", help="Folders of sweeps, or one above several, or a results.parquet; all on one page."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="The file to write. Default: report.html in DIR, the first of several.")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Serve the page on this machine while the sweep runs; Ctrl-C ends it.")
    ] = False,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port for --watch; 0 takes a free one.")] = 8265,
    open_: Annotated[
        bool, typer.Option("--open", help="Write or serve it open though the results lie sealed.")
    ] = False,
) -> None:
    """Write a sweep, or several together, as one HTML file: tables, charts and a page for every run.

    [bold]Examples[/bold]

      dpjax report results/quickstart

      dpjax report results/quickstart --out quickstart.html

      dpjax report results/quickstart --watch

      dpjax report results/before results/after --out both.html

    The file needs no network and no server. The exit status is 1 if jobs failed, have no result yet, or could not be
    read; the report is written all the same, and says so at its top.
    """
    from dpjax.results.open_copies import private_copies, refuse_open_copy, refuse_unopened

    refuse_open_copy(directories, "the page" if watch else "the report", allowed=open_, failures=True)
    refuse_unopened(directories)
    if watch:
        if out is not None:
            raise ValueError("--out and --watch exclude each other: write the file once the sweep has ended")
        if len(directories) > 1:
            raise ValueError(f"--watch follows one folder, not {len(directories)}: give one, or leave --watch out")
        import gc

        from dpjax.report.serving import serve

        gc.set_threshold(10_000)  # it lives for hours
        (followed,) = directories
        serve(followed, port, lambda address: typer.echo(f"{address}  follows {followed}; Ctrl-C ends it."))
        typer.echo("stopped")
        return
    import datetime

    from dpjax.report.packing import pack
    from dpjax.report.page import render
    from dpjax.report.several import gather_several
    from dpjax.results.errors import ResultsError
    from dpjax.results.result_files import write_atomically

    if out is not None and out.is_file() and out.suffix.lower() not in (".html", ".htm"):
        raise ResultsError(f"--out {out} is there and is no report: choose a file that ends in .html")
    now = datetime.datetime.now(datetime.UTC)
    contents = gather_several(directories, now)
    directory = directories[0]
    path = out or (directory if directory.is_dir() else directory.parent) / "report.html"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResultsError(f"--out {path} cannot be written ({error.strerror}): choose another file") from error
    with private_copies(directories):
        write_atomically(path, render(pack(contents, now.isoformat(timespec="seconds"))).encode())
    typer.echo(path)
    for notice in contents.notices:
        lines = notice.items[:5] + ([f"and {len(notice.items) - 5} more"] if len(notice.items) > 5 else [])
        typer.echo("\n  ".join([notice.text, *lines]), err=True)
    if not contents.is_complete:
        raise typer.Exit(1)
