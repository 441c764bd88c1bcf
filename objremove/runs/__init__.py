"""What every unattended run has, whatever it takes its photos from: a folder of results that knows how it was made, and by which options.

`layout` says where the results of a photo go, `names` what is a photo by its name, `manifest` is the report and the memory, `options`
holds a run against those before it, `output` keeps others out of the folder meanwhile, `checksums` tell whether a file is what it was,
`tally` counts what became of the photos, and `failures` says in one line what went wrong with one.
"""
