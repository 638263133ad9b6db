"""`gen live`: options in, library calls, text out."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click

from trainer.commands.options import FILE, FOLDER, RUN


@click.command()
@RUN
@click.option("--out", type=FOLDER, help="Write the page into this folder and end, for a web server of your own.")
@click.option(
    "--example", "examples", type=FILE, multiple=True, help="Photo to begin with.  [default: scikit-image's astronaut]"
)
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0: any that is free.")
@click.option("--open/--no-open", "open_page", default=True, help="Open the page in a browser.  [default: open]")
def live(weights: Path, out: Path | None, examples: tuple[Path, ...], port: int, open_page: bool) -> None:
    """Run a network in the browser: UV grid, texture and landmarks on photos, videos and the webcam.

    One page with onnxruntime-web and the network as ONNX, served on 127.0.0.1 until Ctrl-C. Everything is computed in
    the page: no picture leaves the machine, and nothing is fetched from elsewhere. With --out the same page as a folder
    of plain files; a server of https, or one on the same machine, lets it use the webcam.

    \\b
    gen live
    gen live --run runs/uvnet-... --example me.jpg --port 9000
    gen live --out page
    """
    from trainer.live import page, serve

    def say(line: str) -> None:
        click.echo(line, err=True)

    if out is not None:
        click.echo(page.build(weights, out, examples, say))
        return
    folder = tempfile.TemporaryDirectory(prefix="headforge-live-")
    with folder as root, serve.server(Path(root), port) as serving:
        page.build(weights, Path(root) / "page", examples, say)
        shown = f"{serve.address(serving)}page/"
        click.echo(f"{shown} (Ctrl-C ends it)")
        if open_page and sys.stdout.isatty():
            click.launch(shown)
        serving.serve_forever()
