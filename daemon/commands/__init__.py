"""What a person types: one module per command, each small; what they do lies elsewhere.

A module imports what its command needs inside the command, so that `safelight sql` does not wait for the
web server, nor `safelight --help` for the database.
"""
