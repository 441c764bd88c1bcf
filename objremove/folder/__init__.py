"""Many photos, unattended: what to work on, what became of it, and how to go on after whatever happens.

`plan` says which photos, `run` takes them through the pipeline, `manifest` is the report and the memory, `watch` waits for more.
"""
