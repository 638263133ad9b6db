"""One reader for specs, trainings and cluster profiles: what it refuses, how it says so, what it lists."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from click.testing import CliRunner

from renderer.commands.knobs import list_knobs
from renderer.errors import SpecError
from renderer.format.sample_format import canonical_json
from renderer.parameters.identity import spec_identity
from renderer.parameters.jobspecs import spec_names
from renderer.parameters.spec import Spec, parse_spec
from renderer.strict import Numbers, knob, knobs, load, override, read, settings, to_plain, to_yaml
from slurm.profile import Profile
from trainer.systems.uvnet.config import UVNetConfig


@dataclass(frozen=True)
class Span(Numbers):
    first: float
    last: float

    def check(self) -> None:
        if self.first > self.last:
            raise SpecError("the first is above the last")


@dataclass(frozen=True)
class Lamp:
    """A lamp."""

    power: float = knob(3, "how bright", 0, 10, unit="W")
    tilt_deg: Span = knob(Span(0, 5), "how it leans", -90, 90)
    colours: tuple[str, ...] = knob((), "in this order", options=("red", "blue"))
    shares: Mapping[str, float] = knob({"red": 1.0}, "of the colours", 0, 1, options=("red", "blue"))
    corner: tuple[int, int] = knob((0, 0), "column and row", 0, 100)
    mode: Literal["on", "off"] = knob("on", "at start")

    def check(self) -> None:
        if self.mode == "off" and self.power:
            raise SpecError(f"power is {self.power:g}; a lamp that is off has 0")


@dataclass(frozen=True)
class Room:
    name: str
    lamp: Lamp = Lamp()


@pytest.mark.parametrize(
    ("lamp", "words"),
    [
        ({"pwer": 3}, "unknown key 'lamp.pwer': did you mean 'power'?"),
        ({"hue": 3}, "unknown key 'lamp.hue'; known keys: power, tilt_deg, colours, shares, corner, mode"),
        ({"power": 11}, "lamp.power is 11; it must lie within 0 and 10"),
        ({"power": float("inf")}, "lamp.power is inf; it must lie within 0 and 10"),
        ({"power": "1e-4"}, "lamp.power is '1e-4'; it must be a number (YAML reads 1e-4 as text; write 1.0e-4)"),
        ({"power": "three"}, "lamp.power is 'three'; it must be a number"),
        ({"power": 10**400}, f"lamp.power is {10**400}; it must lie within 0 and 10"),
        ({"power": True}, "lamp.power is True; it must be a number"),
        ({"tilt_deg": [1, 2, 3]}, "lamp.tilt_deg is [1, 2, 3]; give a number or [first, last]"),
        ({"tilt_deg": [5, 100]}, "lamp.tilt_deg is 100; it must lie within -90 and 90"),
        ({"tilt_deg": [5, 1]}, "lamp.tilt_deg is [5, 1]; the first is above the last"),
        ({"colours": "red"}, "lamp.colours is 'red'; it must be a list"),
        ({"colours": ["read"]}, "lamp.colours is 'read'; it must be one of red, blue"),
        ({"colours": [3]}, "lamp.colours is 3; it must be a text, in quotes where YAML reads something else"),
        ({"shares": {"green": 1}}, "lamp.shares is 'green'; it must be one of red, blue"),
        ({"shares": {"blue": 2}}, "lamp.shares.blue is 2; it must lie within 0 and 1"),
        ({"corner": [1]}, "lamp.corner is [1]; it must be a list of 2 values"),
        ({"corner": [1, 2.5]}, "lamp.corner is 2.5; it must be a whole number"),
        ({"mode": "of"}, "lamp.mode is 'of'; it must be one of on, off"),
        ({"mode": "off", "power": 2}, "lamp.power is 2; a lamp that is off has 0"),
        ([], "lamp is []; it must be a mapping of keys to values"),
    ],
)
def test_what_is_wrong_is_said_with_source_key_value_and_what_would_be_accepted(lamp: Any, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        read(Room, {"name": "hall", "lamp": lamp}, "room.yaml")
    assert str(caught.value) == f"room.yaml: {words}"


def test_an_error_in_a_file_names_the_line_of_the_key(tmp_path: Path) -> None:
    file = tmp_path / "room.yaml"
    for text, line in (
        ("name: hall\nlamp:\n  mode: on\n  # bright\n  power: 99\n", 5),
        ("name: hall\n\nlamp: {mode: 'off'}\n", 3),  # the power that does not fit is a default: the line of its section
        ("lamp: {mode: 'off', power: 0}\n", 1),  # no name
    ):
        file.write_text(text.replace("mode: on", "mode: 'on'"))
        with pytest.raises(SpecError, match=f"^{file}:{line}: "):
            load(Room, file)


def test_a_key_that_stands_in_a_section_is_found_from_outside() -> None:
    with pytest.raises(SpecError, match=r"unknown key 'yaw_deg': did you mean 'pose.yaw_deg'"):
        parse_spec({"yaw_deg": 3}, "x")


def test_a_section_whose_lines_are_all_comments_has_its_defaults() -> None:
    assert read(Room, {"name": "hall", "lamp": None}, "x") == Room("hall")


def test_a_list_has_a_type_for_each_place() -> None:
    @dataclass(frozen=True)
    class Place:
        at: tuple[str, int] = ("a", 1)

    assert read(Place, {"at": ["b", 2]}, "x").at == ("b", 2)
    with pytest.raises(SpecError, match=r"at is 'c'; it must be a number"):
        read(Place, {"at": ["b", "c"]}, "x")


def test_a_key_without_default_must_be_given() -> None:
    with pytest.raises(SpecError, match=r"^x: name is missing$"):
        read(Room, {}, "x")


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["lamp.power"], "--set 'lamp.power' is not of the form SECTION.KEY=VALUE"),
        (["=3"], "not of the form"),
        (["lamp.power=["], "not YAML"),
        (["lamp.pwer=3"], "with --set: unknown key 'lamp.pwer': did you mean 'power'"),
        (["lap.power=3"], "with --set: unknown key 'lap': did you mean 'lamp'"),
        (["lamp.power.of=3"], "lamp.power is {'of': 3}; it must be a number"),
        (["lamp={power: 1, power: 2}"], "not YAML"),
    ],
)
def test_a_wrong_change_is_refused(texts: list[str], words: str) -> None:
    with pytest.raises(SpecError) as caught:
        override(Room("hall"), settings(texts), "hall with --set")
    assert words in str(caught.value)


def test_a_change_leaves_the_rest_as_it_is_and_the_last_one_wins() -> None:
    room = read(Room, {"name": "hall", "lamp": {"power": 2, "tilt_deg": 1}}, "x")
    changed = override(room, settings(["lamp.power=5", "lamp.power=6", "lamp.shares.blue=0.5"]), "x")
    assert changed.lamp.power == 6 and changed.lamp.tilt_deg == Span(1, 1) and changed.name == "hall"
    assert changed.lamp.shares == {"red": 1.0, "blue": 0.5}


def test_plain_values_are_read_back_and_floats_are_floats() -> None:
    room = Room("hall", Lamp(colours=("blue",)))
    assert to_plain(room)["lamp"] == {
        "power": 3.0,
        "tilt_deg": [0.0, 5.0],
        "colours": ["blue"],
        "shares": {"red": 1.0},
        "corner": [0, 0],
        "mode": "on",
    }
    assert isinstance(to_plain(room)["lamp"]["power"], float)
    assert read(Room, to_plain(room), "x") == room and "power: 3.0" in to_yaml(room)


def test_what_data_set_tags_are_made_of_stays() -> None:
    """Another hash: every data set of before gets another tag, and its samples other keys."""
    assert hashlib.sha256(canonical_json(spec_identity(Spec()))).hexdigest()[:16] == "049122fac9babb64"


@pytest.mark.parametrize("kind", [Spec, Profile, UVNetConfig])
def test_every_knob_says_what_it_means_and_accepts_its_default(kind: type) -> None:
    found = knobs(kind)
    assert len(found) > 20
    assert [k.key for k in found if not (k.about and k.accepted)] == []
    read(kind, to_plain(kind()), "defaults")


def test_a_unit_follows_from_the_name_of_a_knob() -> None:
    units = {k.key: k.unit for k in knobs(Lamp)}
    assert (units["power"], units["tilt_deg"], units["mode"]) == ("W", "degrees", "")


@pytest.mark.parametrize("name", [*spec_names(), "train_uvnet", "sweep_occlusion", "cluster_local"])
def test_gen_knobs_lists_every_knob_of_a_file(name: str) -> None:
    result = CliRunner().invoke(list_knobs, [name], catch_exceptions=False)
    kind = UVNetConfig if name.startswith(("train", "sweep")) else Profile if "cluster" in name else Spec
    listed = [line.split()[0] for line in result.output.splitlines() if line.startswith("  ")]
    assert listed == [k.key for k in knobs(kind)]


def test_gen_knobs_shows_value_range_unit_default_and_meaning(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("pose: {yaw_deg: 20}\n")
    lines = CliRunner().invoke(list_knobs, [str(file)]).output.splitlines()
    line = next(line for line in lines if "pose.yaw_deg" in line)
    assert " ".join(line.split()) == "pose.yaw_deg 20.0 0 to 180 degrees, default 90.0 turn to the side, 99.9 % limit"
    refused = CliRunner().invoke(list_knobs, [str(file), "--kind", "training"])
    assert isinstance(refused.exception, SpecError)


def test_reading_a_spec_needs_neither_torch_nor_numpy() -> None:
    code = "import sys, renderer.strict; assert not {'numpy', 'torch', 'click'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
