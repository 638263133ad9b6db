"""A window that shows pictures as they come. tkinter, because OpenCV's headless wheel has no window."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from renderer.errors import MachineError


class LiveView:
    """A window of its own; q, Escape or closing it ends the show. Raises MachineError where none can be opened."""

    def __init__(self, title: str) -> None:
        try:
            import tkinter

            from PIL import ImageTk
        except ImportError as error:
            raise MachineError(f"--window needs tkinter ({error}): install python3-tk, or leave it out") from error
        try:
            self._root = tkinter.Tk()
        except tkinter.TclError as error:
            raise MachineError(f"--window needs a display ({error}): leave it out, or run on a desktop") from error
        self._photo: Any = None
        self._make_photo = ImageTk.PhotoImage
        self._label = tkinter.Label(self._root)
        self._label.pack()
        self._open = True
        self._root.title(title)
        self._root.protocol("WM_DELETE_WINDOW", self.close)
        for key in ("q", "<Escape>"):
            self._root.bind(key, lambda _: self.close())

    def show(self, picture: npt.NDArray[np.uint8]) -> bool:
        """Show (H, W, 3) bytes; False once the window is closed."""
        if self._open:
            self._photo = self._make_photo(Image.fromarray(picture), master=self._root)  # kept, or tkinter drops it
            self._label.configure(image=self._photo)
            self._root.update()
        return self._open

    def close(self) -> None:
        """Close the window; `show` then returns False."""
        if self._open:
            self._open = False
            self._root.destroy()
