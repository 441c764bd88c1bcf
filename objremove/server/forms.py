"""The fields of requests, with the same names as on the command line or of `Remover`, and their limits."""

from __future__ import annotations

from typing import Annotated

from fastapi import File, Form, UploadFile
from pydantic import StringConstraints

MOST_PROMPTS = 64
MOST_INSTANCES = 500

_Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
_Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
_Words = Annotated[str, StringConstraints(max_length=500)]
_Point = Annotated[str, StringConstraints(pattern=r"^ *[0-9]{1,6} *, *[0-9]{1,6} *(, *[+-] *)?$")]
_Box = Annotated[str, StringConstraints(pattern=r"^ *[0-9]{1,6}( *, *[0-9]{1,6}){3} *$")]

PhotoFile = Annotated[UploadFile, File(description="The photo.")]
OptionalPhoto = Annotated[UploadFile | None, File(description="The photo; or give photo_id.")]
PhotoId = Annotated[_Id, Form(description="A photo that was sent before, or a result.")]
OptionalPhotoId = Annotated[_Id | None, Form(description="A photo that was sent before, or a result.")]
Remove = Annotated[
    list[_Words],
    Form(
        description="Class names: person,car; person#2; all. May be repeated.",
        max_length=MOST_PROMPTS,
        examples=[["person"]],
    ),
]
Keep = Annotated[
    list[_Words],
    Form(
        description="Of what remove names, leave these; or largest, center. May be repeated.", max_length=MOST_PROMPTS
    ),
]
Instances = Annotated[
    list[_Id], Form(description="Ids of instances of this photo. May be repeated.", max_length=MOST_INSTANCES)
]
Known = Annotated[
    list[_Id],
    Form(
        description="Ids of instances of this photo: answers only what a second look finds of the named classes beside them.",
        max_length=MOST_INSTANCES,
    ),
]
Points = Annotated[
    list[_Point],
    Form(description="x,y on the object, or x,y,- beside it; all of them are one object.", max_length=MOST_PROMPTS),
]
Boxes = Annotated[
    list[_Box], Form(description="x0,y0,x1,y1 around an object. May be repeated.", max_length=MOST_PROMPTS)
]
Masks = Annotated[list[UploadFile], File(description="Pictures of the photo's size, white removes.", max_length=4)]
KeepMasks = Annotated[list[UploadFile], File(description="Pictures of the photo's size, white stays.", max_length=4)]
Dilate = Annotated[
    str,
    Form(
        description="Growth of each object: auto, pixels up to the photo's longer side, or N% of its size, below 1000%.",
        pattern=r"^(auto|[0-9]{1,5}(\.[0-9]{1,3})? *(px)?|[0-9]{1,3}(\.[0-9]{1,3})? *%)$",
    ),
]
Feather = Annotated[int | None, Form(description="Width in pixels of the soft edge in the grown ring.", ge=0, le=1000)]
Confidence = Annotated[
    float | None, Form(description="Least score of what counts as found.", ge=0, le=1, allow_inf_nan=False)
]
Format = Annotated[_Name | None, Form(description="Of the result's file: jpg, png, webp, …; default: the photo's own.")]
Quality = Annotated[
    int | None, Form(description="1 to 100, for lossy formats: encodes the whole photo anew.", ge=1, le=100)
]
Model = Annotated[_Name, Form(description="A name of /v1/models, or auto.")]
