"""A table of the marks that generators write into their files, and the comparison of a file's fields with it.

A mark is something that programs write and people do not: a program's name in a field for program names, settings in
the form of that program, or a declared source type. A caption that mentions a generator is not a mark. To support
another program, add a row. Sources: IPTC Photo Metadata 2025.1 (source types, AI fields); GB 45438-2025 (label AIGC);
for the programs, the files that they write.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

MAX_SEARCHED = 2**18  # number of characters of one field that are searched

# Values of the IPTC property DigitalSourceType that declare a generator, and their meaning.
GENERATED = {
    "trainedAlgorithmicMedia": "made by generative AI",
    "trainedAlgorithmicData": "made by generative AI",
    "compositeWithTrainedAlgorithmicMedia": "edited by generative AI",
    "compositeSynthetic": "a composite with synthetic parts",
    "algorithmicMedia": "made by an algorithm alone",
}
# Names of programs that make or alter pictures, which nobody else has. They count in fields for the name of a program,
# of a source, or, at the beginning, of an author.
PROGRAMS = (
    r"stable.?diffusion", r"midjourney", r"niji.?journey", r"dall[\W_]?e\b", r"adobe firefly", r"\bfirefly image",
    r"comfyui", r"novelai", r"automatic1111", r"invokeai", r"fooocus", r"\bsdxl\b", r"stylegan", r"chatgpt",
    r"\bgpt-image", r"(?:made|edited|created) with google ai", r"\bnano banana", r"mflux", r"dreamstudio",
    r"bing image creator", r"diffusionbee", r"easy ?diffusion", r"swarmui", r"sd\.next", r"dreamina", r"seedream",
    r"qwen-image", r"\bz-image\b", r"imagined with ai", r"craiyon", r"tensor\.?art\b", r"detector generator",
    r"\bgpt-?4o\b", r"\bgoogle imagen\b", r"\bgemini[ -]\d(?:\.\d)?[ -](?:flash|pro|ultra)[ -]image", r"google gemini",
    r"openai sora", r"apple image playground", r"runway ?ml\b", r"hidream", r"freepik mystic", r"mochi diffusion",
    r"\bdeepai\b", r"wombo dream", r"hotpot\.ai", r"apple photos clean ?up", r"this ?person ?does ?not ?exist",
    r"\bpixai\b", r"microsoft copilot",
)  # fmt: skip
# Names that also belong to people, agencies or studios, which are credited for photographs. They count only in fields
# for the name of a program.
NAMES_OF_OTHERS_TOO = (
    r"openai", r"stability ai", r"black forest labs", r"leonardo\.ai", r"ideogram", r"civitai", r"artbreeder",
    r"krea\.ai", r"faceapp", r"\Agrok\b", r"\breface\b", r"jimeng", r"doubao", r"tongyi", r"hunyuan",
    r"\Aremini\b", r"\blensa\b", r"\bmeta ai\b", r"playground ?\.?ai\b", r"image playground", r"draw ?things",
    r"kling ?ai\b", r"nightcafe", r"\brecraft\b", r"ai horde", r"magic media", r"\bimagen[ -]?[2-9]\b",
    r"\bgemini\b.{0,20}\bimage", r"\brunway gen", r"luma (?:photon|ai|labs|dream)", r"\bsora(?:[ -]?[12])?\Z",
    r"\breve image", r"kohya|\bsd-scripts", r"diffusers\b", r"amazon (?:titan|nova)", r"starry ?ai\b",
    r"pixel studio", r"xiaomi ai\b", r"\bflux(?:[.-]?[12]\b| [12] ?\[?(?:dev|pro|schnell|kontext|max|flex))",
    r"generated photos", r"perchance", r"higgsfield", r"\bveo ?[23]\b", r"\bwan ?2\.\d", r"generative (?:fill|expand)",
)  # fmt: skip
PROGRAM_FIELDS = (
    "Software|ProcessingSoftware|CreatorTool|softwareAgent|AISystemUsed|OriginatingProgram|ImageHistory|Make|Model"
    "|Generator|CameraFirmware|RAWDevelopingSoftware|ImageEditingSoftware|MetadataEditingSoftware"
)
AUTHOR_FIELDS = "Artist|Author|Creator|XPAuthor|Byline|Photographer|ImageEditor"
DESCRIPTIONS = "Description|ImageDescription|Caption|UserComment|Comment|XPComment|XPTitle"


class Field(NamedTuple):
    """One text field of a file: the block that holds it ("EXIF", "XMP" ...), the name of the field, and its text."""

    block: str
    name: str
    text: str


class Mark(NamedTuple):
    """A row of the table: a field has the mark if its whole name matches `field` and all of `texts` are found in it.

    beside: name of another field that the file must also have. by: the program; if it is "", the program is the group
    `by` of a text, or else the other field, or else the program that wrote the file. sure: True if the mark says that a
    generator took part, False if it says that one may have.
    """

    says: str
    by: str
    field: str
    texts: tuple[str, ...]
    beside: str = ""
    sure: bool = True


class Declaration(NamedTuple):
    """What a file says of how it was made: the words, by which program ("" if it does not say), and in which field.

    sure: whether it says that a generator took part, and not only that one may have. signed_by: who signed that, "" for
    a field that anybody can write.
    """

    says: str
    by: str
    where: str
    sure: bool = True
    signed_by: str = ""

    def describe(self) -> str:
        """Return it as part of a sentence. The program is quoted: its name is the file's, and may claim a signature."""
        by = ', by "{}"'.format(self.by.replace('"', "'")) if self.by else ""
        return f"{self.says} in {self.where}{by}{f', signed by {self.signed_by}' if self.signed_by else ''}"


def _keys(*names: str) -> tuple[str, ...]:
    """Return patterns of the keys of a JSON object, also of one that is text in another object."""
    return tuple(rf"""["']{name}\\?["']\s*:""" for name in names)


_SETTING = r"(?:(?:Sampler|CFG scale|Guidance scale|Schedule type): ?\S|Seed: ?-?\d)"
_SETTINGS = rf"Steps: ?\d+\s*[,;\n]\s*(?:[^\n]{{0,300}}?[ ,;])?{_SETTING}"
_NONE = (  # at the beginning of a pattern: the whole text does not say that there is none
    r"(?!\W*(?:none|no|n/?a|nil|null|false|0|unknown|not (?:applicable|available|used)"
    r"|no (?:ai|prompt|system|tool|generator)\b[^\n]{0,40}|keine?|nein|aucune?|ningun[oa]|nessun[oa])\W*\Z)"
)
_AI = r"(?:(?:an? )?(?:generative |artificial )?(?:ai|a\.i\.|intelligence)|ki)"
_PICTURE = "(?:image|picture|photo|illustration|portrait|bild|imagen)"
_CREDIT = (  # the whole credit, or its beginning up to a slash, comma or bracket; English, German, French and others
    rf"\A\W*(?:{_PICTURE}\W+)?(?:(?:made|created|generated|imagined) (?:with|by|using) {_AI}"
    rf"|{_AI}[ -](?:generated|created|made|generiert\w*|erzeugt\w*)(?: {_PICTURE})?"
    r"|génér\wes? par (?:une |l['’])?ia|generad[ao] (?:por|con) (?:la )?ia|ai ?生成\w*)\W*(?:\Z|[/,(|])"
)
_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_PRODUCER = r"""\A(?:(?=(?s:.){0,4000}?["']ContentProducer\\?["']\s*:\s*\\?["'](?P<by>[^"'\\]{1,80})))?"""
_LABEL = r"""["']Label\\?["']\s*:\s*\\?["']?%s\b"""
_AIGC = r"""["']AIGC\\?["']\s*:\s*\\?["']?\{[^{}]{0,2000}"""
_LABELS = {"1": ("generated", True), "2": ("possibly generated", False), "3": ("suspected of being generated", False)}
_CHOICES = "(?:num_inference_)?steps|sampler(?:_name)?|guidance(?:_scale)?|cfg_scale"

MARKS = (
    Mark("Stable Diffusion settings", "A1111 or its kin", ".*", (_SETTINGS,)),
    Mark("ComfyUI node graph", "ComfyUI", ".*", _keys("class_type", "inputs")),
    Mark("ComfyUI node graph", "ComfyUI", ".*", _keys("last_node_id", "nodes")),
    Mark("ComfyUI node graph", "ComfyUI", "workflow", (r'\A\s*\{(?s:.)*"nodes"\s*:',)),
    Mark("InvokeAI settings", "InvokeAI", "invokeai_(?:metadata|graph|workflow)|sd-metadata", (r"\S",)),
    Mark("InvokeAI settings", "InvokeAI", "dream", (r"-S ?\d", r"-W ?\d")),
    Mark("InvokeAI settings", "InvokeAI", ".*", _keys("generation_mode", "positive_prompt")),
    Mark("SwarmUI settings", "SwarmUI", ".*", _keys("sui_image_params")),
    Mark("Fooocus settings", "Fooocus", "fooocus_scheme", (r"\S",)),
    Mark("Fooocus settings", "Fooocus", ".*", _keys("(?:full_|raw_)?prompt", "base[_ ]model", "sampler")),
    Mark("mflux settings", "mflux", ".*", _keys("mflux_version")),
    Mark("Draw Things settings", "Draw Things", ".*", _keys("c", "uc", "sampler", "seed")),
    Mark("NovelAI settings", "NovelAI", ".*", _keys("uc", "sampler", "seed")),
    Mark("NovelAI title", "NovelAI", "Title", (r"\A(?:AI|NovelAI) generated image\Z",)),
    Mark("Easy Diffusion settings", "Easy Diffusion", "use_stable_diffusion_model|num_inference_steps", (r"\S",)),
    Mark("Easy Diffusion settings", "Easy Diffusion", ".*", _keys("use_stable_diffusion_model")),
    Mark("Stable Diffusion settings", "a Stable Diffusion program", "sd:(?:prompt|sampler|steps|model_hash)", (r"\S",)),
    Mark("TensorArt settings", "TensorArt", "generation_data", _keys("(?:prompt|baseModel|models)")),
    Mark("a negative prompt", "a text-to-image program", "negative[ _-]?prompt", (r"\S",)),
    Mark("settings of a text-to-image program", "a text-to-image program", ".*",
         _keys("(?:positive_?)?prompt", "seed", f"(?:{_CHOICES})")),
    Mark("settings of a text-to-image program", "a text-to-image program", "(?:positive[ _]?)?prompt", (r"\S",),
         f"seed|(?:{_CHOICES})"),
    Mark("Midjourney job", "Midjourney", DESCRIPTIONS, (rf"\bJob ID: {_UUID}\s*\Z", r" --[a-z]")),
    Mark("Midjourney job", "Midjourney", "Description", (rf"\S\s+Job ID: {_UUID}\s*\Z",), "Author|Creation Time"),
    Mark("Grok signature", "xAI Grok", "ImageDescription", (r"\ASignature: ?[A-Za-z0-9+/=]{64,}\s*\Z",), "Artist"),
    Mark("Dreamina export", "Dreamina", ".*", (r'"(?:product|source_info)"\s*:\s*"(?:dreamina|jimeng)',)),
    Mark("ByteDance label: generated", "a ByteDance program", ".*", (r'"aigc_label_type"\s*:\s*"?1\b',)),
    Mark("ByteDance label: possibly generated", "a ByteDance program", ".*", (r'"aigc_label_type"\s*:\s*"?[2-9]',),
         sure=False),
    Mark("Samsung generative edit", "Samsung Galaxy AI", "PhotoEditor_Re_Edit_Data",
         (r'genAIType\\?"\s*:\s*"?-?[1-9]',)),
    Mark("IPTC AI system", "", "AISystemUsed", (rf"\A{_NONE}(?P<by>.*\w.*)",)),
    Mark("IPTC AI prompt", "", "AIPromptInformation|AISystemVersionUsed", (rf"\A{_NONE}(?s:.)*?\w",)),
    Mark("a flag that it is generated", "", "(?:is)?_?ai[_-]?generated", (r"\A(?:true|yes|1)\Z",)),
    *(
        Mark(f"IPTC source type {name} ({says})", "", "DigitalSource(?:File)?Type", (rf"(?:\A|[/:#]){name}/?\Z",))
        for name, says in GENERATED.items()
    ),
    *(
        Mark(f"GB 45438-2025 label {label} ({says})", "", field, texts, beside, sure)
        for label, (says, sure) in _LABELS.items()
        for field, texts, beside in (
            ("AIGC", (_PRODUCER, _LABEL % label), ""),
            (".*", (_PRODUCER, _AIGC + _LABEL % label), ""),
            ("Label", (rf"\A{label}\Z",), "ContentProducer"),
        )
    ),
    Mark("the name of a generator", "", PROGRAM_FIELDS, (rf"(?P<by>{'|'.join((*PROGRAMS, *NAMES_OF_OTHERS_TOO))})",)),
    Mark("a credit to generative AI", "", "Credit|Source", (_CREDIT,)),
    Mark("the name of a generator", "", "Credit|Source", (rf"(?P<by>{'|'.join(PROGRAMS)})",)),
    Mark("the name of a generator", "", AUTHOR_FIELDS, (rf"\A\W*(?P<by>{'|'.join(PROGRAMS)})",)),
)  # fmt: skip
_TABLE = [
    (mark, re.compile(mark.field, re.I), [re.compile(text, re.I) for text in mark.texts], re.compile(mark.beside, re.I))
    for mark in MARKS
]


def find_marks(fields: Sequence[Field]) -> list[Declaration]:
    """Return what the fields of a file declare: the first matching row of each field, without repeats in one block."""
    found: dict[tuple[str, str, str], Declaration] = {}
    for field in fields:
        if declared := _compare(field, fields):
            found.setdefault((declared.says, declared.by, field.block), declared)
    return list(found.values())


def _compare(field: Field, fields: Sequence[Field]) -> Declaration | None:
    text = field.text[:MAX_SEARCHED]
    for mark, name, texts, beside in _TABLE:
        if not name.fullmatch(field.name):
            continue
        near = next((f.text for f in fields if beside.fullmatch(f.name)), "") if mark.beside else ""
        matches = [pattern.search(text) for pattern in texts]
        if all(matches) and (near or not mark.beside):
            named = next((m["by"] for m in matches if m and "by" in m.re.groupindex and m["by"]), "")
            by = " ".join((mark.by or named or near or _program(fields)).split())[:80]
            return Declaration(mark.says, by, f"{field.block} {field.name}", mark.sure)
    return None


def _program(fields: Sequence[Field]) -> str:
    """Return the program that the file names as its writer."""
    return next((f.text for f in fields if f.name in ("CreatorTool", "Software", "Credit") and f.text.strip()), "")


def to_details(declared: Declaration) -> dict[str, str]:
    """Return a declaration as a finding's details hold it, whose list already says whether it is sure."""
    return {"says": declared.says, "by": declared.by, "signed_by": declared.signed_by, "where": declared.where}
