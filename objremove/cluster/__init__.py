"""The work of a folder run on many machines: Ray Data, with a model in each worker.

`listing` says which files there are, `sources` reads the photos in them, `ledger` is the memory, `report` what comes of it, `worker` is
what runs on the cluster, `run` is the driver, which never sees a pixel. `storage` is the one place that knows local disks from object
stores.
"""
