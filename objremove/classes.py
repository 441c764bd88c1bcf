"""The classes that segmenters know: VOC's 20 and COCO's 80, one plain name each, with the aliases people type.

One object has one name here, whichever data set a model was trained on: VOC's `aeroplane` and COCO's `airplane` are both
`airplane`. Numbers are VOC's, as in the original project (`15` is person); `coco:1` is COCO's category id.
"""

from __future__ import annotations

from typing import Final

VOC: Final[tuple[str, ...]] = (
    "background", "airplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "dining table",
    "dog", "horse", "motorcycle", "person", "potted plant", "sheep", "couch", "train", "tv",
)  # fmt: skip
"""Name by VOC index, 0 (background) to 20, in PASCAL VOC's order."""

COCO: Final[dict[int, str]] = {
    1: "person", 2: "bicycle", 3: "car", 4: "motorcycle", 5: "airplane", 6: "bus", 7: "train", 8: "truck", 9: "boat",
    10: "traffic light", 11: "fire hydrant", 13: "stop sign", 14: "parking meter", 15: "bench", 16: "bird", 17: "cat",
    18: "dog", 19: "horse", 20: "sheep", 21: "cow", 22: "elephant", 23: "bear", 24: "zebra", 25: "giraffe",
    27: "backpack", 28: "umbrella", 31: "handbag", 32: "tie", 33: "suitcase", 34: "frisbee", 35: "skis",
    36: "snowboard", 37: "sports ball", 38: "kite", 39: "baseball bat", 40: "baseball glove", 41: "skateboard",
    42: "surfboard", 43: "tennis racket", 44: "bottle", 46: "wine glass", 47: "cup", 48: "fork", 49: "knife",
    50: "spoon", 51: "bowl", 52: "banana", 53: "apple", 54: "sandwich", 55: "orange", 56: "broccoli", 57: "carrot",
    58: "hot dog", 59: "pizza", 60: "donut", 61: "cake", 62: "chair", 63: "couch", 64: "potted plant", 65: "bed",
    67: "dining table", 70: "toilet", 72: "tv", 73: "laptop", 74: "mouse", 75: "remote", 76: "keyboard",
    77: "cell phone", 78: "microwave", 79: "oven", 80: "toaster", 81: "sink", 82: "refrigerator", 84: "book",
    85: "clock", 86: "vase", 87: "scissors", 88: "teddy bear", 89: "hair drier", 90: "toothbrush",
}  # fmt: skip
"""Name by COCO category id: 80 names, ids 1 to 90 with gaps."""

ALIASES: Final[dict[str, str]] = {
    "aeroplane": "airplane", "plane": "airplane", "aircraft": "airplane", "jet": "airplane",
    "bike": "bicycle", "cycle": "bicycle", "ship": "boat", "coach": "bus", "automobile": "car", "auto": "car",
    "kitten": "cat", "puppy": "dog", "pony": "horse", "lamb": "sheep", "cattle": "cow", "seat": "chair",
    "diningtable": "dining table", "table": "dining table", "desk": "dining table",
    "motorbike": "motorcycle", "scooter": "motorcycle",
    "people": "person", "persons": "person", "human": "person", "man": "person", "men": "person", "woman": "person",
    "women": "person", "child": "person", "children": "person", "kid": "person", "pedestrian": "person",
    "pottedplant": "potted plant", "plant": "potted plant", "houseplant": "potted plant",
    "sofa": "couch", "settee": "couch", "locomotive": "train",
    "tvmonitor": "tv", "television": "tv", "monitor": "tv", "screen": "tv",
    "lorry": "truck", "semaphore": "traffic light", "hydrant": "fire hydrant", "rucksack": "backpack",
    "purse": "handbag", "bag": "handbag", "necktie": "tie", "luggage": "suitcase", "ski": "skis", "ball": "sports ball",
    "racket": "tennis racket", "glass": "wine glass", "mug": "cup", "phone": "cell phone", "mobile": "cell phone",
    "smartphone": "cell phone", "fridge": "refrigerator", "doughnut": "donut", "hair dryer": "hair drier",
    "teddy": "teddy bear",
}  # fmt: skip
"""Other spellings and everyday words, lower case, each for one class name."""

NAMES: Final[tuple[str, ...]] = tuple(dict.fromkeys([*VOC[1:], *COCO.values()]))
"""Every class name once: VOC's 20 in VOC order, then the 60 that only COCO has."""
