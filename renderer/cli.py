"""The command `gen`. Commands are imported when they are called: `gen --help` needs neither bpy nor torch."""

from __future__ import annotations

import errno
import importlib
from typing import Any, Final

import click

from renderer.errors import HeadforgeError

COMMANDS: Final = {
    # name: (module:object, one line for `gen --help`)
    "render": ("renderer.commands:render", "Render a data set, or what is missing of it."),
    "verify": ("renderer.commands:verify", "Prove a data set sound: hashes, ranges, labels, statistics."),
    "collage": ("renderer.commands:collage", "Picture sheet of a spec or of a data set."),
    "stats": ("renderer.commands:stats", "Plot the distribution of every knob of a data set."),
    "gather": ("renderer.commands:gather", "Merge the shards of a data set into one tar."),
    "doctor": ("renderer.commands:doctor", "Check this machine, and say the fix for what is wrong."),
    "bench": ("renderer.commands:bench", "Measure speed, image error and packing on this machine."),
    "status": ("slurm.cli:status", "What is done, running, missing or failed of a data set on a cluster."),
    "train": ("trainer.cli:train", "Train a network on a data set."),
    "export": ("trainer.cli:export", "Weights of a run as safetensors, ONNX or torch.export."),
    "apply": ("trainer.view_cli:apply_", "Run a trained network on photos and video."),
    "evaluate": ("trainer.view_cli:evaluate", "Metrics of a trained network over a data set or annotated photos."),
    "view": ("trainer.view_cli:view", "Results page of a run or two, or of a data set; opens from disk."),
    "bench-input": ("trainer.cli:bench_input", "Measure the trainer's input pipeline."),
    "bench-network": ("trainer.cli:bench_network", "Measure training steps against the device's ceiling."),
    "assets": ("blend_assets.cli:assets", "Build and inspect the head pack."),
}


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports one only to run it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, about) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except HeadforgeError as error:
            _fail(ctx, str(error))
        except OSError as error:
            if error.errno == errno.EPIPE:  # the reader of our output left, as `head` does; click ends quietly
                raise
            _fail(ctx, f"{error.filename}: {error.strerror}" if error.filename else str(error))


def _fail(ctx: click.Context, words: str) -> None:
    click.echo(f"gen: {' '.join(words.split())}", err=True)
    ctx.exit(2)


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="headforge")
def main() -> None:
    """headforge: renders randomised heads with dense UV labels, and trains networks on them.

    \b
    gen render --count 64                     64 samples of the default spec into out/mixed
    gen collage --dataset out/mixed           look at them
    gen verify out/mixed                      prove them sound
    """


if __name__ == "__main__":
    main()
