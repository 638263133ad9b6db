"""The command `gen`. Commands are imported when they are called: `gen --help` needs neither bpy nor torch."""

from __future__ import annotations

import errno
from typing import Any, Final

import click

from renderer.errors import HeadforgeError
from renderer.install import missing
from renderer.lazy_group import LazyGroup

COMMANDS: Final = {
    # name: (module:object, one line for `gen --help`)
    "render": ("renderer.commands.render:render", "Render a data set, or what is missing of it."),
    "import-capture": (
        "renderer.commands.import_capture:import_capture",
        "Make a data set of own footage: videos with the vertices of each frame.",
    ),
    "verify": ("renderer.commands.checks:verify", "Prove a data set sound: hashes, ranges, labels, statistics."),
    "collage": ("renderer.commands.collage:collage", "Picture sheet of a spec or of a data set; a clip as video."),
    "stats": ("renderer.commands.dataset:stats", "Plot the distribution of every knob of a data set."),
    "gather": ("renderer.commands.dataset:gather", "Merge the shards of a data set into one tar."),
    "doctor": ("renderer.commands.checks:doctor", "Check this machine, and say the fix for what is wrong."),
    "status": ("slurm.cli:status", "How far a data set is: done, running, missing, failed, verified."),
    "train": ("trainer.commands.train:train", "Train a network on a data set."),
    "export": ("trainer.commands.export:export", "Export a network as safetensors, ONNX or torch.export."),
    "apply": ("trainer.commands.apply:apply_", "Run a trained network on photos and video."),
    "capture": ("trainer.commands.capture:capture", "Turn video of an actor into an animated mesh."),
    "reconstruct": ("trainer.commands.reconstruct:reconstruct", "Faces of photos in 3D: meshes from position maps."),
    "frontalise": ("trainer.commands.frontalise:frontalise", "Make a frontal, neutral face of each face in photos."),
    "evaluate": (
        "trainer.commands.evaluate:evaluate",
        "Measure a trained network on a data set or on annotated photos.",
    ),
    "study": (
        "trainer.commands.study:study",
        "Which variability of the training data matters: train on each, test on all.",
    ),
    "view": (
        "trainer.commands.view:view",
        "Build the page of a run, of two runs, or of a data set; it opens from disk.",
    ),
    "live": (
        "trainer.commands.live:live",
        "Run a network in the browser, on photos and the webcam; on this machine alone.",
    ),
    "assets": ("blend_assets.cli:assets", "Build and inspect the head pack."),
    "knobs": ("renderer.commands.knobs:list_knobs", "Every knob of a spec, a training or a cluster profile."),
    "bench": ("renderer.cli:bench", "Measure this machine: renderer, trainer, packing, scaling."),
}

BENCHES: Final = {
    "render": ("renderer.commands.bench:bench", "Samples per second, drift and image error of the renderer."),
    "shards": ("renderer.commands.bench:shards", "Opening, planning and reading data sets of many shards."),
    "input": ("trainer.commands.bench:bench_input", "The trainer's input pipeline."),
    "network": (
        "trainer.commands.bench:bench_network",
        "Training steps, beside the fastest matrix products of the device.",
    ),
    "visualise": (
        "trainer.commands.bench:bench_visualise",
        "Projections of UV maps, in frames per second on one core.",
    ),
    "second-view": (
        "trainer.commands.bench:bench_second_view",
        "Colours of second views made from one picture, beside the true ones.",
    ),
    "packing": ("slurm.cli:packing", "Find the fastest workers x threads of a node, and write them into a profile."),
    "scaling": ("slurm.cli:scaling", "Where the time of a render on a cluster went, and what more nodes would bring."),
}


class MainGroup(LazyGroup):
    """The outermost group, where errors become one line and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except HeadforgeError as error:
            _fail(ctx, str(error))
        except ModuleNotFoundError as error:
            if (words := missing(error.name)) is None:
                raise
            _fail(ctx, words)
        except KeyboardInterrupt:
            click.echo("gen: stopped", err=True)
            ctx.exit(130)
        except OSError as error:
            if error.errno == errno.EPIPE:  # the reader of our output left, as `head` does; click ends quietly
                raise
            _fail(ctx, f"{error.filename}: {error.strerror}" if error.filename else str(error))


def _fail(ctx: click.Context, words: str) -> None:
    click.echo(f"gen: {' '.join(words.split())}", err=True)
    ctx.exit(2)


@click.command(cls=MainGroup, lazy=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="headforge")
def main() -> None:
    """headforge: renders randomised heads with dense UV labels, and trains networks on them.

    \b
    gen render --count 64                     64 samples of the default spec into out/mixed
    gen collage --dataset out/mixed           look at them
    gen verify out/mixed                      prove them sound
    """


@click.command(cls=LazyGroup, lazy=BENCHES)
def bench() -> None:
    """Measure this machine. Most print JSON lines; figures worth keeping go to docs/benchmarks.md.

    \b
    gen bench render --what throughput
    gen bench network train_uvnet_small --data out/mixed
    gen bench packing cluster_mine.yaml
    """


if __name__ == "__main__":
    main()
