"""``dpjax keys``: the keys that files at rest are sealed with, other keys for them, and a look into one."""

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="keys",
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Keys that files at rest are sealed with: make one, see which there are, give sealed files another.\n\n"
    "What a sealed file holds can be read, and changed unnoticed, by nobody without a key of it. Keys lie in a file of "
    "yours, an environment variable, the system's keyring, or a token that they never leave.\n\n"
    "[bold]Examples[/bold]\n\n"
    "  dpjax keys new --to file:~/.dpjax-keys\n\n"
    "  export DPJAX_KEYS=file:~/.dpjax-keys\n\n"
    "  dpjax ledger export trail.sealed --sealed\n\n"
    "  dpjax keys open trail.sealed\n\n"
    "  dpjax keys rotate results\n\n"
    "Sources are written env:VARIABLE, file:PATH, keyring:SERVICE/NAME or pkcs11:TOKEN/LABEL?module=PATH, whose PIN is "
    "in DPJAX_PKCS11_PIN.",
)

_Keys = Annotated[
    str | None, typer.Option("--keys", metavar="SOURCE", help="Of the keys, as file:PATH; if left out, DPJAX_KEYS.")
]


@app.command()
def new(
    to: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help="file:PATH, keyring:SERVICE/NAME, pkcs11:...; if left out, it is printed."),
    ] = None,
) -> None:
    """Make a key, which seals from then on; the keys before it still open.

    [bold]Examples[/bold]

      dpjax keys new --to file:~/.dpjax-keys

      dpjax keys new --to keyring:dpjax/clinic

      dpjax keys new --to 'pkcs11:clinic/dpjax?module=/usr/lib/softhsm/libsofthsm2.so'

      export DPJAX_KEY="$(dpjax keys new)" DPJAX_KEYS=env:DPJAX_KEY

    Keep a copy of a key elsewhere: without it nobody reads what it sealed. A file is made for you alone (mode 600).
    """
    from dpjax.encryption.errors import short
    from dpjax.encryption.keys import add_key, new_key

    if to is None:
        typer.echo(new_key())
        return
    keys = add_key(to)
    ids = keys.ids
    typer.echo(
        f"made key {short(ids[0])} in {keys.source}, which holds {_counted(len(ids), 'key')}; the new one seals."
    )


@app.command()
def show(keys: _Keys = None) -> None:
    """Show which keys a source holds, by their ids.

    [bold]Examples[/bold]

      dpjax keys show

      dpjax keys show --keys keyring:dpjax/clinic

    The first seals, all open. An id is a hash, which says nothing else of its key.
    """
    from dpjax.encryption.keys import keys_from

    found = keys_from(keys)
    ids = found.ids
    typer.echo(f"{found.source}: {_counted(len(ids), 'key')}")
    for number, key_id in enumerate(ids):
        typer.echo(f"  {key_id.hex()}  {'opens' if number else 'seals and opens'}")


@app.command()
def rotate(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Sealed files, or folders that hold some.")],
    keys: _Keys = None,
    old: Annotated[
        str | None, typer.Option("--from", metavar="SOURCE", help="Of their keys so far, if that is another source.")
    ] = None,
) -> None:
    """Give every sealed file the first key of the source, in the place of the one that it has.

    [bold]Examples[/bold]

      dpjax keys new --to file:~/.dpjax-keys

      dpjax keys rotate results ledger-exports

      dpjax keys rotate results --from file:~/.dpjax-keys --keys keyring:dpjax/clinic

    Only the first 4 KiB of a file change, and it opens at every moment: stop it whenever you like, and run it again.
    When it says that all files have the new key, the old one can be taken out of the source. What somebody copied while
    the old key was known stays readable to them.
    """
    from dpjax.encryption.errors import EncryptionError, short
    from dpjax.encryption.joined import JoinedKeys
    from dpjax.encryption.keys import keys_from
    from dpjax.encryption.rotation import rewrap, sealed_under

    source = keys_from(keys) if old is None else JoinedKeys((keys_from(keys), keys_from(old)))
    newest = short(source.ids[0])
    files, failed = sealed_under(paths)
    given = had = 0
    for file in files:
        try:
            new_here = rewrap(file, source)
        except EncryptionError as error:
            failed.append(str(error))
        except OSError as error:
            failed.append(f"{file} can't be written ({error.strerror}); let its owner give you the right to.")
        else:
            given, had = given + new_here, had + (not new_here)
    typer.echo(f"{_counted(len(files), 'sealed file')}: {given:,} given key {newest}, {had:,} had it")
    for sentence in failed:
        typer.echo(sentence, err=True)
    if failed:
        what = _counted(len(failed), "path")
        raise ValueError(f"{what} could not be given key {newest}, as said above; keep the old key until all have it.")


@app.command()
def seal(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Result files that lie open, or folders.")],
    keys: _Keys = None,
) -> None:
    """Seal results that a run wrote open, as before it was told to seal them.

    [bold]Examples[/bold]

      dpjax keys seal results/patients

    Results, their tables and what is told of failures are sealed, and nothing else. Look at them first: a result that
    somebody else put there passes for yours from then on.
    """
    from dpjax.cli.errors import disk_in_one_line
    from dpjax.encryption.keys import keys_from
    from dpjax.encryption.writer import write_sealed
    from dpjax.results.result_files import FAILURE_FILE, JOB_FILE, visible_files
    from dpjax.results.sealing import is_sealed

    source, names = keys_from(keys), (JOB_FILE, FAILURE_FILE, "results.parquet", "results.json")
    found: list[Path] = []
    for path in paths:
        files = [path] if path.name in names else [each for name in names for each in visible_files(path, name)]
        if not files:
            raise ValueError(f"{path} has none of {', '.join(names)}; name the folder of a sweep or of a run.")
        found += [each for each in files if not is_sealed(each)]
    for file in found:
        with disk_in_one_line(file):
            write_sealed(file, file.read_bytes(), source, purpose="results", durable=True)
    typer.echo(f"sealed {_counted(len(found), 'file')} of results with key {source.ids[0].hex()[:8]}…")


@app.command("open")
def open_file(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A sealed file.")],
    to: Annotated[Path | None, typer.Option(metavar="FILE", help="Where to write; if left out, it is printed.")] = None,
    keys: _Keys = None,
) -> None:
    """Write out what a sealed file holds, as it was before it was sealed.

    [bold]Examples[/bold]

      dpjax keys open trail.sealed

      dpjax keys open trail.sealed --to trail.jsonl

    Rows are opened by dpjax data open. Nothing is written unless all of it is what was sealed, and nothing that is
    there is written over. With --to the file is yours alone (mode 600), and of any size; what is printed is held in
    memory first.
    """
    from dpjax.cli.errors import disk_in_one_line
    from dpjax.encryption.keys import keys_from
    from dpjax.encryption.reader import SealedReader, purpose_of, read_sealed
    from dpjax.private_files import private_file

    source = keys_from(keys)
    with disk_in_one_line(file):
        purpose = purpose_of(file)
    if purpose == "data":
        raise ValueError(
            f"{file} holds rows, which `dpjax data open` writes out, as their owners may and the ledger notes."
        )
    if to is None:
        with disk_in_one_line(file):
            whole = read_sealed(file, source, purpose=purpose)
        sys.stdout.flush()
        sys.stdout.buffer.write(whole)
        sys.stdout.buffer.flush()
        return
    with (
        disk_in_one_line(file, to),
        SealedReader(file, source, purpose=purpose) as stream,
        private_file(to) as out,
    ):
        while piece := stream.read(1 << 20):
            out.write(piece)
        size = stream.size
    typer.echo(f"wrote {to}: {size:,} bytes of {purpose}")


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
