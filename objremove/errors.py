"""What can go wrong, in one line each: what, where, what to do.

Every error that a user can cause is an `ObjRemoveError`. The command line prints its message as one line and ends with its
`exit_code`; a caller of the library catches it as any exception. Anything else that escapes is a bug in this package.
"""

from __future__ import annotations


class ObjRemoveError(Exception):
    """Base of all errors that a user can mend. The message is one line that says what, where and what to do."""

    exit_code = 1


class UsageError(ObjRemoveError):
    """The request itself is off: an unknown class or model, a point outside the photo, a mask of another size."""

    exit_code = 2


class PhotoError(ObjRemoveError):
    """A photo cannot be read or written: truncated, not an image, too large, the disk is full."""


class NoFileError(PhotoError):
    """What is named as a photo is not there, or is a folder: the request is off, and not the photo."""

    exit_code = UsageError.exit_code


class DatasetError(ObjRemoveError):
    """Annotations cannot be read or written: a broken file, a missing folder, a mask of another size than its photo."""


class ModelError(ObjRemoveError):
    """A weight file is missing, incomplete, of the wrong kind or hash, or could not be fetched."""
