"""The renderer's commands: read options, call the library, print. Each file is imported when its command is called."""
