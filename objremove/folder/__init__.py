"""Folders of photos, unattended: what to work on, what became of it, and how to go on after whatever happens.

`plan` says which photos, `run` takes them through the pipeline and writes `files`, `watch` waits for more. The memory is that of all runs,
see `objremove.runs`.
"""
