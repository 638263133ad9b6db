"""The trainer's commands: read options, call the library, print."""
