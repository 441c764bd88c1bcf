"""Many photos through one `Remover`: decoding, finding, filling and encoding overlap, and memory stays flat.

    for outcome in pipeline.run(remover, jobs, finish=save):
        ...

A few workers share all the work there is. Whoever is free takes the step that lies nearest to the end of a photo's road: finish a
filled photo, else fill a full batch of equal windows (of whatever photos), else open the next photo and find what goes, else fill a
batch that is not full. So the processors stay busy whatever stage is the slow one, and batches fill up by themselves. A photo is
in work from when its job is read until its outcome is taken, and so many photos are in work at most: nothing piles up.

`jobs` has what goes in and what comes out, `runner` starts the workers and hands out the outcomes, `crew` knows which step is the
next one, `roads` where each photo is.
"""

from objremove.pipeline.crew import MOST_PIXELS
from objremove.pipeline.jobs import Job, Outcome
from objremove.pipeline.runner import cores, run

__all__ = ["MOST_PIXELS", "Job", "Outcome", "cores", "run"]
