"""Locate faces and cut them out: the one path from a picture to what a detector sees."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

from detector.pictures.images import cut, decode_picture, read, resize
from detector.types import Decoded, Image

Box = tuple[int, int, int, int]  # left, top, right, bottom, pixels

MODEL = Path(__file__).parents[1] / "weights" / "yunet" / "model.onnx"
DETECTION_SIDE = 320  # longer side at which faces are looked for, pixels
MIN_CONFIDENCE = 0.7  # least confidence of a face
RELIABLE = 16  # width of a face, pixels of the search, from which on nearly all are found
MAX_DETECTION_SIDE = 2048  # longer side of the finer search of a large picture at most, pixels
TURNS = (0, 1, 3)  # quarter turns, counter-clockwise, under which a picture is searched until a face is found
MIN_WIDTH = 40  # width of a face, pixels, below which it is not judged
MOST_FACES = 128  # most faces of a picture that are judged, the largest: thousands must not fill the memory
MARGIN = 1.5  # side of the square that is cut out, in sides of the face box
TIGHT_CROP_RATIO = 1.1  # how much larger than the picture that square may be before it counts as cut too tightly
MAX_PADDING = 3  # side of the square that is mirrored, in sides of the picture, at most
CROP_DETECTION_SIDE = 160  # DETECTION_SIDE for a picture that is a face crop

STRIDES = (8, 16, 32)  # pixels between the places at which the network looks
OUTPUTS = [f"{kind}_{stride}" for kind in ("cls", "obj", "bbox") for stride in STRIDES]  # no landmarks
OVERLAP = 0.3  # overlap (intersection over union) of two boxes above which they are one face


@dataclass(frozen=True)
class Face:
    """A face of a picture, and what a detector is given of it.

    box: of the face; crop: the part that is cut out; both in pixels of the picture as it lies. turns: quarter turns,
    counter-clockwise, after which the face is upright. reason: why it is not judged; empty if it can be.
    """

    box: Box
    crop: Box
    turns: int = 0
    reason: str = ""

    def in_file(self, decoded: Decoded) -> Face:
        """Return the face with its boxes in pixels of the file, of which a very large JPEG has more than were decoded.

        Whether a face is large enough to be judged is a matter of the decoded pixels, for the detector has no others;
        the reason then says at which size the picture was decoded.
        """
        size = f", in the picture decoded at 1/{decoded.divisor} of its size" if decoded.reduced else ""
        return Face(
            decoded.enlarge(self.box), decoded.enlarge(self.crop), self.turns, self.reason and self.reason + size
        )


def find_faces(image: Image) -> list[Face]:
    """Return every face of a picture, largest first; an empty list if there are none.

    The picture is searched at DETECTION_SIDE pixels. It is searched again, finer, only where that can pay: where faces
    that are large enough to be judged may have been too small to be found, and no face of twice the reliable width was
    found, beside which others of the same group would have been seen. Where there is no face at all, the picture may
    lie on its side and is searched after a turn.
    """
    for turns in TURNS:
        if boxes := _search(image, turns):
            return [Face(box, face_square(box, image.shape), turns, too_small(box, turns)) for box in boxes]
    return []


def _search(image: Image, turns: int) -> list[Box]:
    """Return the boxes of the faces that are upright after some quarter turns, largest first, of a finer search too."""
    boxes = locate_faces(image, turns=turns)
    longer = max(image.shape[:2])
    finer = min(round(longer * RELIABLE / MIN_WIDTH), MAX_DETECTION_SIDE)
    if finer <= DETECTION_SIDE or any(_width(box, turns) * DETECTION_SIDE >= 2 * RELIABLE * longer for box in boxes):
        return boxes
    more = locate_faces(image, side=finer, turns=turns)
    boxes += [box for box in more if all(measure_overlap(box, known) <= OVERLAP for known in boxes)]
    return sorted(boxes, key=_area, reverse=True)


def locate_faces(image: Image, *, side: int = DETECTION_SIDE, turns: int = 0) -> list[Box]:
    """Return the boxes of the faces that one search finds in a picture, largest first.

    side: longer side at which they are looked for, pixels. turns: quarter turns, counter-clockwise, after which they
    are upright; the boxes are those in the picture as it lies.

    Source: Wu, Peng and Yu 2023, YuNet, doi:10.1007/s11633-023-1423-y; boxes are read off as OpenCV's FaceDetectorYN
    does, which runs the same network at half the speed.
    """
    block = max(max(image.shape[:2]) // side, 1)  # means of whole blocks first: three times as fast
    height, width = (max(length // block, 1) for length in image.shape[:2])
    part = image[: height * block, : width * block]
    image = np.asarray(cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    scale = side / max(height, width)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    small = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR) if scale < 1 else resize(image, *size)
    extent = small.shape[:2]
    small = np.rot90(small, turns)
    rows, columns = (-(-length // STRIDES[-1]) * STRIDES[-1] for length in small.shape[:2])
    padded = np.zeros((1, 3, rows, columns), np.float32)
    padded[0, :, : small.shape[0], : small.shape[1]] = small[:, :, ::-1].transpose(2, 0, 1)  # the network takes BGR
    options = onnxruntime.RunOptions()
    if side > DETECTION_SIDE:  # its memory would be kept for every shape that was ever searched, 300 MB after a few
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    found = dict(zip(OUTPUTS, _locator().run(OUTPUTS, {"input": padded}, options), strict=True))
    boxes, scores = [], []
    for stride in STRIDES:
        sure = np.sqrt(np.clip(found[f"cls_{stride}"], 0, 1) * np.clip(found[f"obj_{stride}"], 0, 1))[0, :, 0]
        places = np.flatnonzero(sure >= MIN_CONFIDENCE)
        x, y, w, h = found[f"bbox_{stride}"][0, places].T
        w, h = stride * np.exp(w), stride * np.exp(h)
        x, y = stride * (places % (columns // stride) + x) - w / 2, stride * (places // (columns // stride) + y) - h / 2
        boxes.append(np.stack([x, y, w, h], 1))
        scores.append(sure[places])
    every, sure = np.concatenate(boxes), np.concatenate(scores)
    kept = every[np.asarray(cv2.dnn.NMSBoxes(every.tolist(), sure.tolist(), MIN_CONFIDENCE, OVERLAP), int).ravel()]
    kept = kept[np.argsort(-kept[:, 2] * kept[:, 3], kind="stable")]
    edges = np.stack([kept[:, 0], kept[:, 1], kept[:, 0] + kept[:, 2], kept[:, 1] + kept[:, 3]], 1)
    for turned in range(turns, 0, -1):  # back into the picture as it lies, a quarter at a time
        left, top, right, bottom = edges.T
        edges = np.stack([extent[turned % 2] - bottom, left, extent[turned % 2] - top, right], 1)
    return [(round(a), round(b), round(c), round(d)) for a, b, c, d in (edges * (block / scale)).tolist()]


@cache
def _locator() -> onnxruntime.InferenceSession:
    """Return the network, loaded once; it may run in several threads at a time, on one core each."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return onnxruntime.InferenceSession(str(MODEL), options, providers=["CPUExecutionProvider"])


def face_square(box: Box, shape: tuple[int, ...], margin: float = MARGIN) -> Box:
    """Return the square around a face box, `margin` times its longer side, moved and shrunk to lie in the picture.

    shape: of the picture, (height, width, ...). Nothing is padded, so a face that was cut out before is taken whole.
    """
    return _square(box, min(round(_longer(box) * margin), *shape[:2]), shape)


def widen(face: Image) -> Image | None:
    """Return a face (H, W, 3) as it would be cut, were there more around it, mirrored; None if there is enough.

    So a face that somebody cut out tightly is seen at the scale of all others: how tightly must not tell what it is.
    """
    height, width = face.shape[:2]
    boxes = locate_faces(face, side=CROP_DETECTION_SIDE)
    if not boxes or (side := round(_longer(boxes[0]) * MARGIN)) <= TIGHT_CROP_RATIO * min(height, width):
        return None
    square = _square(boxes[0], min(side, MAX_PADDING * max(height, width)), face.shape)
    return resize(cut(face, square, mirrored=True), width, height)


def _longer(box: Box) -> int:
    left, top, right, bottom = box
    return max(right - left, bottom - top)


def _width(box: Box, turns: int) -> int:
    """Return how wide a face is that is upright after some quarter turns."""
    left, top, right, bottom = box
    return bottom - top if turns % 2 else right - left


def _area(box: Box) -> int:
    left, top, right, bottom = box
    return max(right - left, 0) * max(bottom - top, 0)


def measure_overlap(one: Box, other: Box) -> float:
    """Return the area that two boxes share, as a share of what they cover together."""
    shared = _area((max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3])))
    return shared / max(_area(one) + _area(other) - shared, 1)


def _square(box: Box, side: int, shape: tuple[int, ...]) -> Box:
    """Return the square of that side around a box, moved to lie in the picture, or to hold it where it is larger."""
    left, top, right, bottom = box
    height, width = shape[:2]
    x, y = round((left + right - side) / 2), round((top + bottom - side) / 2)
    x = min(max(x, min(0, width - side)), max(0, width - side))
    y = min(max(y, min(0, height - side)), max(0, height - side))
    return x, y, x + side, y + side


def too_small(box: Box, turns: int = 0) -> str:
    """Return why a located face is not judged; empty if it is large enough. turns: after which it is upright."""
    width = _width(box, turns)
    return f"the face is {width} pixels wide, less than {MIN_WIDTH}" if width < MIN_WIDTH else ""


def centre_square(image: Image) -> Box:
    """Return the largest square in the middle of a picture."""
    height, width = image.shape[:2]
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def prepare(image: Image, size: int, crop: Box | None = None, turns: int = 0) -> Image:
    """Return the face, RGB (size, size, 3): the crop (else the centre square), resized by the one filter.

    turns: quarter turns, counter-clockwise, that the crop is turned by.
    """
    return resize(np.ascontiguousarray(np.rot90(cut(image, crop or centre_square(image)), turns)), size, size)


def load_square(path: Path | str, crop: Box | None = None) -> Image:
    """Return the crop of the picture in a file, else its centre square, at its own resolution.

    crop: in pixels of the file, however small it is decoded. Raises as `images.load`.
    """
    decoded = decode_picture(read(path))
    return cut(decoded.image, decoded.shrink(crop) if crop else centre_square(decoded.image))


def load_face(path: Path | str, size: int, crop: Box | None = None) -> Image:
    """Return the face in a file, RGB (size, size, 3), cut as by `load_square` and resized by the one filter."""
    return resize(load_square(path, crop), size, size)
