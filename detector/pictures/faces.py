"""Locate faces and cut them out. Every picture that a detector scores goes through these functions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from detector.pictures.images import REDUCING_GAP, cut, decode_picture, read, resize
from detector.types import Decoded, Image

Box = tuple[int, int, int, int]  # left, top, right, bottom, pixels

MODEL = Path(__file__).parents[1] / "weights" / "yunet" / "model.onnx"
DETECTION_SIDE = 320  # longer side of the reduced picture in which faces are located, pixels
MIN_CONFIDENCE = 0.7  # confidence of the network above which a box counts as a face
RELIABLE = 16  # width in the reduced picture, pixels, from which nearly all faces are found
MAX_DETECTION_SIDE = 2048  # largest side of the second, finer search of a large picture, pixels
TURNS = (0, 1, 3)  # quarter turns (counter-clockwise) that are tried in this order until a face is found
MIN_WIDTH = 40  # smallest width of a face that is judged, pixels
MOST_FACES = 128  # largest number of faces judged in one picture, the largest ones: thousands would fill the memory
MARGIN = 1.5  # side of the square that is cut out, as a multiple of the longer side of the face box
TIGHT_CROP_RATIO = 1.1  # a crop is too tight if that square is larger than the crop by more than this factor
MAX_PADDING = 3  # largest side of a crop after padding by reflection, as a multiple of its side before
LARGE = 224  # side of a prepared face, pixels, from which resizing to it takes noticeable time
LARGE_GAP = 1.0  # `gap` of `images.resize` for such faces: it halves the time for a face of 1000 pixels in the picture
CROP_DETECTION_SIDE = 160  # DETECTION_SIDE for a picture that is a face crop

STRIDES = (8, 16, 32)  # distances of the network's output positions, pixels of the reduced picture
BOXES, LANDMARKS = (
    [f"{kind}_{stride}" for kind in ("cls", "obj", last) for stride in STRIDES] for last in ("bbox", "kps")
)
OVERLAP = 0.3  # two boxes whose intersection over union is larger than this are the same face


@dataclass(frozen=True)
class Face:
    """A face in a picture, and the crop of it that a detector scores.

    box: of the face; crop: the square that is cut out; both in pixels of the picture before any turn. turns: quarter
    turns, counter-clockwise, after which the face is upright. reason: why it is not judged; empty if it is judged.
    """

    box: Box
    crop: Box
    turns: int = 0
    reason: str = ""

    def in_file(self, decoded: Decoded) -> Face:
        """Return the face with its boxes in pixels of the file; a very large JPEG is decoded at a reduced size.

        Whether a face is large enough is decided in decoded pixels, because the detector scores these. The reason then
        names the size at which the picture was decoded.
        """
        size = f", in the picture decoded at 1/{decoded.divisor} of its size" if decoded.reduced else ""
        return Face(
            decoded.enlarge(self.box), decoded.enlarge(self.crop), self.turns, self.reason and self.reason + size
        )


def find_faces(image: Image) -> list[Face]:
    """Return every face of a picture, largest first; an empty list if there are none.

    The picture is searched at DETECTION_SIDE pixels. A second, finer search follows if faces of MIN_WIDTH may have been
    too small to be found, unless a face of twice the reliable width was found: then other faces of the same group would
    have been found as well. If there is no face at all, the picture may lie on its side and is searched after a turn.
    """
    for turns in TURNS:
        if boxes := _search(image, turns):
            return [Face(box, face_square(box, image.shape), turns, too_small(box, turns)) for box in boxes]
    return []


def _search(image: Image, turns: int) -> list[Box]:
    """Return the boxes of faces that are upright after these quarter turns, largest first, after up to two searches."""
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

    side: longer side of the reduced picture that is searched, pixels. turns: quarter turns, counter-clockwise, after
    which the faces are upright; the boxes are in pixels of the picture before the turn.

    Source: Wu, Peng and Yu 2023, YuNet, doi:10.1007/s11633-023-1423-y; the network's output is decoded as in OpenCV's
    FaceDetectorYN, which runs the same network at half the speed.
    """
    search = _search_once(image, side, turns, BOXES)
    found, columns = search.found, search.columns
    boxes, scores = [], []
    for stride in STRIDES:
        sure = _confidence(found, stride)
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
    for turned in range(turns, 0, -1):  # undo the turns, one quarter at a time
        left, top, right, bottom = edges.T
        edges = np.stack([search.extent[turned % 2] - bottom, left, search.extent[turned % 2] - top, right], 1)
    return [(round(a), round(b), round(c), round(d)) for a, b, c, d in (edges * search.factor).tolist()]


def locate_landmarks(image: Image) -> NDArray[np.float64] | None:
    """Return where the eyes, the tip of the nose and the corners of the mouth of the clearest face are, or None.

    The points (5, 2) are in pixels of the picture (x, y): the eye and the corner on the left of the picture come first.
    Only upright faces are found. Source: as `locate_faces`.
    """
    search = _search_once(image, DETECTION_SIDE, 0, LANDMARKS)
    best, points = MIN_CONFIDENCE, None
    for stride in STRIDES:
        sure = _confidence(search.found, stride)
        place = int(sure.argmax())
        if sure[place] >= best:
            corner = np.array([place % (search.columns // stride), place // (search.columns // stride)])
            best, points = float(sure[place]), stride * (corner + search.found[f"kps_{stride}"][0, place].reshape(5, 2))
    return None if points is None else np.asarray(points * search.factor, np.float64)


@dataclass(frozen=True)
class _Found:
    """The output of the network on a reduced and padded picture.

    found: output name -> values. columns: width of the padded picture, pixels. extent: height and width of the reduced
    picture before it was turned, pixels. factor: pixels of the picture for each pixel of the reduced one.
    """

    found: dict[str, NDArray[np.float32]]
    columns: int
    extent: tuple[int, int]
    factor: float


def _search_once(image: Image, side: int, turns: int, outputs: list[str]) -> _Found:
    """Return what the network finds in a picture whose longer side is reduced to `side` pixels, after quarter turns."""
    block = max(max(image.shape[:2]) // side, 1)  # means of whole blocks first: three times as fast
    image = average_blocks(image, block)
    height, width = image.shape[:2]
    scale = side / max(height, width)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    small = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR) if scale < 1 else resize(image, *size)
    extent = small.shape[0], small.shape[1]
    small = np.rot90(small, turns)
    rows, columns = (-(-length // STRIDES[-1]) * STRIDES[-1] for length in small.shape[:2])
    padded = np.zeros((1, 3, rows, columns), np.float32)
    padded[0, :, : small.shape[0], : small.shape[1]] = small[:, :, ::-1].transpose(2, 0, 1)  # the network takes BGR
    options = onnxruntime.RunOptions()
    if side > DETECTION_SIDE:  # its memory would be kept for every shape that was ever searched, 300 MB after a few
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    found = dict(zip(outputs, _locator().run(outputs, {"input": padded}, options), strict=True))
    return _Found(found, columns, extent, block / scale)


def average_blocks(image: Image, block: int) -> Image:
    """Return the mean of each block of `block` x `block` pixels; of a side shorter than a block, one pixel is left.

    Columns and rows that fill no block are ignored. The values are those of OpenCV's INTER_AREA; for blocks of an odd
    side its blur takes half the time.
    """
    height, width = (max(length // block, 1) for length in image.shape[:2])
    part, method = image[: height * block, : width * block], cv2.INTER_AREA
    if block > 1 and block % 2 and min(part.shape[:2]) >= block:  # means from each pixel on, every `block`-th kept
        part, method = np.asarray(cv2.blur(part, (block, block), anchor=(0, 0)), np.uint8)[::block], cv2.INTER_NEAREST
    return np.asarray(cv2.resize(part, (width, height), interpolation=method), np.uint8)


def _confidence(found: dict[str, NDArray[np.float32]], stride: int) -> NDArray[np.float32]:
    """Return the confidence (N,) that a face is at each position of a stride."""
    return np.asarray(np.sqrt(np.clip(found[f"cls_{stride}"], 0, 1) * np.clip(found[f"obj_{stride}"], 0, 1))[0, :, 0])


@cache
def _locator() -> onnxruntime.InferenceSession:
    """Return the network, loaded once; several threads may run it at the same time, each on one core."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return onnxruntime.InferenceSession(str(MODEL), options, providers=["CPUExecutionProvider"])


def face_square(box: Box, shape: tuple[int, ...], margin: float = MARGIN) -> Box:
    """Return the square around a face box, `margin` times its longer side, moved and shrunk to fit into the picture.

    shape: of the picture, (height, width, ...). Nothing is padded: of a tight face crop, the whole picture is taken.
    """
    return _square(box, min(round(_longer(box) * margin), *shape[:2]), shape)


def widen(face: Image) -> Image | None:
    """Pad a tight face crop (H, W, 3) by reflection to the usual margin; return None if it has that margin already.

    The detector then scores the face at the scale of all others, so that a tight crop alone does not change the score.
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
    """Return the width of a face that is upright after these quarter turns."""
    left, top, right, bottom = box
    return bottom - top if turns % 2 else right - left


def _area(box: Box) -> int:
    left, top, right, bottom = box
    return max(right - left, 0) * max(bottom - top, 0)


def measure_overlap(one: Box, other: Box) -> float:
    """Return the intersection over union of two boxes."""
    shared = _area((max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3])))
    return shared / max(_area(one) + _area(other) - shared, 1)


def _square(box: Box, side: int, shape: tuple[int, ...]) -> Box:
    """Return the square of that side around a box, moved into the picture, or around it if the square is larger."""
    left, top, right, bottom = box
    height, width = shape[:2]
    x, y = round((left + right - side) / 2), round((top + bottom - side) / 2)
    x = min(max(x, min(0, width - side)), max(0, width - side))
    y = min(max(y, min(0, height - side)), max(0, height - side))
    return x, y, x + side, y + side


def too_small(box: Box, turns: int = 0) -> str:
    """Return why a face is too small to be judged; empty if it is not. turns: quarter turns that make it upright."""
    width = _width(box, turns)
    return f"the face is {width} pixels wide, less than {MIN_WIDTH}" if width < MIN_WIDTH else ""


def centre_square(image: Image) -> Box:
    """Return the largest square in the middle of a picture."""
    height, width = image.shape[:2]
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def prepare(image: Image, size: int, crop: Box | None = None, turns: int = 0) -> Image:
    """Return the face, RGB (size, size, 3): the crop, or the centre square without one, resized by `images.resize`.

    turns: quarter turns, counter-clockwise, by which the crop is turned.
    """
    return _resize(np.rot90(cut(image, crop or centre_square(image), shared=True), turns), size)


def load_square(path: Path | str, crop: Box | None = None) -> Image:
    """Return the crop of the picture in a file, or its centre square without one, at the decoded resolution.

    crop: in pixels of the file, also if it is decoded at a reduced size. Raises what `images.load` raises.
    """
    decoded = decode_picture(read(path))
    return cut(decoded.image, decoded.shrink(crop) if crop else centre_square(decoded.image))


def load_face(path: Path | str, size: int, crop: Box | None = None) -> Image:
    """Return the face in a file, RGB (size, size, 3), cut by `load_square` and resized by `images.resize`."""
    return _resize(load_square(path, crop), size)


def _resize(face: Image, size: int) -> Image:
    """Return `images.resize(face, size, size)` with the `gap` for a face of that size.

    Of a face that is two to three times too large, the means of blocks of 2 x 2 pixels are taken by OpenCV, which needs
    a third of Pillow's time for the same values.
    """
    gap = LARGE_GAP if size >= LARGE else REDUCING_GAP
    height, width = face.shape[:2]
    if gap != 1 or width // size != 2 or height // size != 2:
        return resize(np.ascontiguousarray(face), size, size, gap=gap)
    if height % 2 or width % 2:  # half of a block lies outside
        face = np.asarray(cv2.copyMakeBorder(face, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE), np.uint8)
    return resize(average_blocks(face, 2), size, size, gap=gap, extent=(width / 2, height / 2))
