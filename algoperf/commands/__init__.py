"""The subcommands of `algoperf`: each parses, calls one function, prints.

A command's module imports what it needs when it runs, so that `algoperf --help` stays quick.
"""
