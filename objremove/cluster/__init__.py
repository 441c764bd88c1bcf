"""The work of a folder run on many machines: Ray Data, with a model in each worker.

`listing` says which files there are, `sources` reads the photos in them, `plan` makes units of work of what is left to do, `worker` is
what does one on the cluster, `machines` is the cluster, `ledger` the memory, `report` what comes of it. `run` is the driver, which never
sees a pixel. `storage` is the one place that knows local disks from object stores.
"""
