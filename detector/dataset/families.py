"""The families of traits that the audit tests together, with their names and the fixes for differences."""

from __future__ import annotations

from dataclasses import dataclass

from detector.dataset.frame_traits import CORNERS

ENCODE = "re-encode every picture alike: `detector audit --fix`"
RESIZE = "take both classes from one resolution and resize them once, by the same filter"
CUT = "cut both classes to the face alike, by the column `crop` of the manifest"
PROCESS = "process both classes alike from the originals: no earlier save, filter or rounding of one class alone"


@dataclass(frozen=True)
class Family:
    """Traits of a picture that are tested together.

    columns: columns of the table of traits, or those that begin with `prefix`; without either, the vector with this
    name is tested. needs: column that must not be empty; other pictures are left out. inherent: whether generators may
    really differ from photographs in these traits. harmless: whether no detector can use these traits, so that they are
    a note at most. linear: whether a linear classifier is used instead of a small tree. says: meaning of a difference
    in a vector.
    """

    name: str
    fix: str
    columns: tuple[str, ...] = ()
    prefix: str = ""
    needs: str = ""
    inherent: bool = False
    harmless: bool = False
    linear: bool = False
    says: str = ""


CODING = ("progressive", "scans", "huffman", "restart", "segments")
QUALITY = ("quality", "standard", "tables", "subsampling")
FAMILIES = (  # more specific families first: the first one names a shortcut that several find
    Family("file format", ENCODE, ("format", "mode")),
    Family("jpeg quality", f"{ENCODE}; where qualities differ much, recompress the better ones first", QUALITY,
           needs="tables"),
    Family("jpeg coding", ENCODE, CODING, needs="tables"),
    Family("picture size", "take photographs and fakes of the same sizes, or crop and resize alike: `detector audit "
           "--fix`", ("width", "height", "aspect")),
    Family("metadata", ENCODE, ("exif_year",), prefix="field "),
    Family("file date", "a detector does not see it, but it shows that the classes were gathered or processed at "
           "different times", ("file_day",), harmless=True),
    Family("black wedges", "leave out pictures whose crop or rotation reaches beyond their edge", ("wedge",)),
    Family("sharpness", f"{RESIZE}; a generator that only blurs is caught by blur alone and teaches nothing else",
           ("fine", "medium"), inherent=True),
    Family("frame", "cut frames and lines at the edges off", ("even_lines_top", "even_lines_bottom", "even_lines_left",
           "even_lines_right", "edge_step"), inherent=True),
    Family("face position", CUT, ("face_across", "face_down", "face_width", "face_height"), inherent=True),
    Family("colour", "make fakes from the photographs' own source, or match colours; grey pictures belong in both "
           "classes or in neither", ("red", "green", "blue", "red_over_green", "blue_over_green", "red_cast",
           "blue_cast", "red_shadows", "blue_shadows", "saturation"), inherent=True, linear=True),
    Family("border", "crop to the face: backgrounds and paddings differ", ("flat_border", "border_light"),
           inherent=True),
    Family("pixel values", PROCESS, ("even_values", "missing_values", "uneven_histogram", "distinct_colours",
           "repeated_pixels", "black_values", "white_values", "darkest", "lightest"), inherent=True),
    Family("tone curve", PROCESS, inherent=True, linear=True,
           says="the values of one class went through a curve: gamma, contrast or white balance"),
    Family("resampling", RESIZE, inherent=True, linear=True,
           says="one class was enlarged, reduced or turned in another way"),
    Family("colour detail", PROCESS, inherent=True, linear=True,
           says="the colour of one class is coarser, or its channels do not lie on one another"),
    Family("earlier jpeg save", PROCESS, inherent=True, linear=True,
           says="one class was saved as JPEG before, at another quality or on another grid"),
    Family("noise", PROCESS, inherent=True, linear=True,
           says="the classes differ in fine noise: a filter, dithering, or another sensor"),
    *(Family(name, "cut marks off, or leave marked pictures out", inherent=True, linear=True,
             says="what is seen there differs: a logo, a mark or a background") for name in CORNERS),
    Family("background", "take both classes from pictures with the same kinds of background, or cut to the face",
           ("background_red", "background_green", "background_blue", "background_spread", "background_detail"),
           inherent=True, linear=True),
    Family("header", ENCODE, ("format", "mode", *QUALITY, *CODING, "width", "height", "aspect")),
    Family("everything but the face", "see what else is found; if nothing is, compare the pictures of both classes "
           "with their faces covered", linear=True,
           says="with the face masked out, what is left of the picture reveals the label"),
)  # fmt: skip
