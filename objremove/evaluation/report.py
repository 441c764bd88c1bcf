from objremove.evaluation.output import *  # noqa
