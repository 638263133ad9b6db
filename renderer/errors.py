"""Errors that a user can act on. `gen` prints their text in one line and exits with code 2.

    HeadforgeError
    ├── SpecError       a spec (YAML) or an option holds a value that cannot be used
    ├── AssetError      a head pack, HDRI, texture or skin is missing, corrupt or lacks something asked for
    ├── FormatError     a sample, shard or data set is not what the sample format says
    ├── DatasetError    an output folder cannot take this run, or a data set cannot be read
    └── MachineError    this machine cannot do what was asked (Python, bpy, libraries, device, disk)

The text names the value, where it came from and the way out.
"""

import difflib
from collections.abc import Iterable


class HeadforgeError(Exception):
    """Base of every error with a message meant for the user."""


class SpecError(HeadforgeError):
    """A spec or an option holds a value that cannot be used."""


class AssetError(HeadforgeError):
    """An asset is missing, corrupt, or lacks something asked for."""


class FormatError(HeadforgeError):
    """A file is not what the sample format says."""


class DatasetError(HeadforgeError):
    """A data set folder cannot take this run, or cannot be read."""


class MachineError(HeadforgeError):
    """This machine cannot do what was asked."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """For the end of a message: the known word that `word` begins, or is like; nothing where there is none."""
    known = list(known)
    near = [name for name in known if word and name.startswith(word)] or difflib.get_close_matches(word, known, n=1)
    return f": did you mean {near[0]!r}?" if near else ""
