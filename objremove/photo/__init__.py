"""The file: a photo's pixels, everything else that it carries, and how both are written back with nothing else touched.

`photo` holds the type, `read` and `write` the formats, `unkept` what is said of what they leave, `modes` the conversions between a
file's samples and RGB, `jpeg` the block splice that keeps the coefficients of every block outside the hole; `atomic` writes a file whole or
not at all.
"""

from objremove.photo.atomic import link_atomic, write_atomic
from objremove.photo.photo import Encoded, Photo
from objremove.photo.write import format_name

__all__ = ["Encoded", "Photo", "format_name", "link_atomic", "write_atomic"]
