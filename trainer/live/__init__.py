"""A trained UV-net in the browser: a static page, and a server for this machine alone. Imports all but commands."""
