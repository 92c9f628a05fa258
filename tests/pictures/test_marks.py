"""Marks of generators are read in every place and encoding, and text by people is not taken for a mark."""

from __future__ import annotations

import io
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from conftest import draw_picture
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from PIL import PngImagePlugin, TiffImagePlugin

from detector.evidence.checks import file, make_exhibit, metadata
from detector.pictures.exif import read_exif_texts
from detector.pictures.images import encode
from detector.pictures.labelling import insert_xmp
from detector.pictures.marks import GENERATED, Field, find_marks
from detector.types import Finding, Outcome

SETTINGS = "portrait\nNegative prompt: blurry\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512"
GRAPH = '{"3": {"class_type": "KSampler", "inputs": {"seed": 1}}}'
JOB = "0f0f0f0f-0000-4000-8000-000000000000"


def check(data: bytes) -> Finding:
    found = metadata.check(make_exhibit(data, Path("x")))
    json.dumps(dict(found.details), allow_nan=False)
    return found


def declared(data: bytes) -> list[dict[str, str]]:
    """Return the declarations in the finding; it must point to fake if and only if there are any."""
    found = check(data)
    marks: list[dict[str, str]] = found.details["declared_generated"]
    assert (found.outcome == Outcome.SUPPORTS_FAKE) == bool(marks)
    assert found.summary.startswith("The file names a generator") == bool(marks)
    return marks


def comment_block(comment: bytes, order: str = "<", kind: int = 7) -> bytes:
    """An EXIF block that holds nothing but UserComment; kind: 7 for undefined bytes, 2 for ASCII."""
    main = struct.pack(order + "HHHIII", 1, 0x8769, 4, 1, 26, 0)
    inner = struct.pack(order + "HHHIII", 1, 0x9286, kind, len(comment), 44, 0)
    return {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "HI", 42, 8) + main + inner + comment


def with_block(block: bytes, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Pillow.fromarray(draw_picture(1)).save(buffer, kind, exif=b"Exif\0\0" + block)
    return buffer.getvalue()


def with_texts(*pairs: tuple[str, str], zip: bool = False, international: bool = False) -> bytes:
    info = PngImagePlugin.PngInfo()
    for key, text in pairs:
        if international:
            info.add_itxt(key, text, zip=zip)
        else:
            info.add_text(key, text, zip=zip)
    buffer = io.BytesIO()
    Pillow.fromarray(draw_picture(1)).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def with_xmp(inside: str, namespace: str = "") -> bytes:
    packet = (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f"<rdf:Description {namespace}>{inside}</rdf:Description></rdf:RDF></x:xmpmeta>"
    )
    return insert_xmp(encode(draw_picture(1), "JPEG"), packet.encode())


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("mark", "code"),
    [
        (b"UNICODE\0", "utf-16-be"),
        (b"UNICODE\0", "utf-16-le"),
        (b"UNICODE\0", "utf-16"),
        (b"UNICODE\0", "utf-8"),
        (b"UNICODE\0", "utf-8-sig"),
        (b"Unicode\0", "utf-16-be"),
        (b"ASCII\0\0\0", "utf-8"),
        (b"ASCII\0\0\0", "utf-16-le"),
        (b"JIS\0\0\0\0\0", "iso2022_jp"),
        (b"JIS\0\0\0\0\0", "cp932"),
        (b"JIS\0\0\0\0\0", "utf-8"),
        (bytes(8), "utf-8"),
        (b"        ", "utf-8"),
        (b"", "utf-8"),
    ],
)
@pytest.mark.parametrize("text", [SETTINGS, "窓辺の少女\n" + SETTINGS], ids=["latin", "japanese"])
def test_comment_in_every_encoding_that_occurs(kind: str, order: str, mark: bytes, code: str, text: str) -> None:
    data = with_block(comment_block(mark + text.encode(code), order), kind)
    assert dict(read_exif_texts(data))["UserComment"] == text
    assert declared(data) == [
        {"says": "Stable Diffusion settings", "by": "A1111 or its kin", "signed_by": "", "where": "EXIF UserComment"}
    ]


@pytest.mark.parametrize("code", ["utf-16-be", "utf-16-le"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("text", ["少女の肖像、窓辺", "портрет у окна", "一个女孩", "Übergröße", "a"])
def test_byte_order_follows_from_the_letters(text: str, code: str, order: str) -> None:
    data = with_block(comment_block(b"UNICODE\0" + text.encode(code) + bytes(4), order))
    assert dict(read_exif_texts(data))["UserComment"] == text


@pytest.mark.parametrize(("order", "code"), [("<", "utf-16-le"), (">", "utf-16-be")])
def test_byte_order_is_that_of_the_file_if_the_letters_are_ambiguous(order: str, code: str) -> None:
    data = with_block(comment_block(b"UNICODE\0" + "醒".encode(code), order))  # the other way round it is 銑
    assert dict(read_exif_texts(data))["UserComment"] == "醒"


def test_a_comment_declared_as_ascii_and_strings_parted_by_zeros() -> None:
    assert declared(with_block(comment_block(SETTINGS.encode() + b"\0", kind=2)))
    exif = Pillow.Exif()
    exif[0x8298] = "A. Photographer\0An Editor"
    buffer = io.BytesIO()
    Pillow.fromarray(draw_picture(1)).save(buffer, "JPEG", exif=exif)
    assert dict(read_exif_texts(buffer.getvalue()))["Copyright"] == "A. Photographer\0An Editor"


PROGRAMS: list[tuple[str, str, str]] = [  # by whom, key, text
    ("A1111", "parameters", SETTINGS),
    (
        "A1111",
        "parameters",
        "x" * 40_000 + "\nSteps: 8, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 2, Seed: 3",
    ),
    ("A1111", "Comment", "a robot\nSteps: 50, Seed: 2830501020, Size: 768x512, model: stable_diffusion"),
    ("ComfyUI", "prompt", GRAPH),
    ("ComfyUI", "workflow", '{"last_node_id": 9, "last_link_id": 9, "nodes": [], "links": []}'),
    ("ComfyUI", "workflow", '{\n "nodes": []}'),
    ("ComfyUI", "generation_data_of_some_tool", '{"extra": {}, "5": {"inputs": {}, "class_type": "VAEDecode"}}'),
    ("InvokeAI", "invokeai_metadata", '{"app_version": "4.2"}'),
    ("InvokeAI", "sd-metadata", "{}"),
    ("InvokeAI", "Dream", '"a face" -s 50 -S 1234 -W 512 -H 512 -C 7.5 -A k_lms'),
    ("InvokeAI", "metadata", '{"generation_mode": "sdxl_txt2img", "positive_prompt": "a face"}'),
    ("SwarmUI", "parameters", '{"sui_image_params": {"prompt": "woman", "model": "flux1-dev", "seed": 1}}'),
    ("SwarmUI", "parameters", '{"sui_image_params": {"prompt": "woman'),
    ("Fooocus", "parameters", '{"prompt": "woman", "base_model": "juggernautXL", "sampler": "dpmpp", "steps": 30}'),
    ("Fooocus", "fooocus_scheme", "a1111"),
    ("mflux", "Comment", '{"mflux_version": "0.9", "model": "schnell", "seed": 1, "prompt": "woman"}'),
    ("Draw Things", "Comment", '{"c": "woman", "uc": "", "sampler": "Euler", "seed": 1, "steps": 8, "scale": 4}'),
    ("NovelAI", "Software", "NovelAI"),
    ("NovelAI", "Title", "AI generated image"),
    ("NovelAI", "Source", "NovelAI Diffusion V4.5 1229B44F"),
    ("NovelAI", "Comment", '{"prompt": "1girl", "steps": 28, "sampler": "k_euler", "seed": 1, "uc": "lowres"}'),
    ("Easy Diffusion", "use_stable_diffusion_model", "sd-v1-5"),
    ("text-to-image", "negative_prompt", "blurry"),
    ("text-to-image", "Negative Prompt", "blurry"),
    ("text-to-image", "Comment", '{"prompt": "woman", "seed": 7, "num_inference_steps": 25, "guidance_scale": 7.5}'),
    ("TensorArt", "generation_data", '{"models": [{"label": "x"}], "prompt": "woman"}'),
    ("Midjourney", "Description", f"portrait of a woman --ar 1:1 --v 6.1 Job ID: {JOB}"),
    ("Dreamina", "Comment", '{"data": {"os": "web", "product": "dreamina", "exportType": "generation"}}'),
    ("ByteDance", "Comment", '{"aigc_info": {"aigc_label_type": 1}}'),
    ("DALL-E", "Software", "DALL-E 3"),
    ("made with google ai", "Credit", "Made with Google AI"),
    ("image playground", "Software", "Apple Image Playground"),
    ("ideogram", "Make", "Ideogram AI"),
    ("dall-e", "Model", "DALL-E 3"),
    ("gemini 2.5 flash image", "Software", "Gemini 2.5 Flash Image"),
    ("imagen 4", "Software", "Imagen 4 Ultra"),
    ("gpt-4o", "Software", "GPT-4o"),
    ("sora", "Software", "Sora 2"),
    ("flux.2", "Software", "FLUX.2 [pro]"),
    ("runway gen", "Software", "Runway Gen-4"),
    ("kohya", "Software", "kohya-ss sd-scripts"),
    ("mochi diffusion", "Software", "Mochi Diffusion"),
    ("amazon nova", "Software", "Amazon Nova Canvas"),
    ("magic media", "Software", "Canva Magic Media"),
    ("meta ai", "Software", "Meta AI"),
    ("apple photos clean up", "Credit", "Apple Photos Clean Up"),
    ("", "Credit", "AI-generated image / Example News"),
    ("", "Credit", "Image generated with AI"),
    ("", "Source", "KI-generiert"),
    ("", "Credit", "Image générée par IA"),
    ("", "Credit", "AI生成"),
    ("", "AISystemUsed", "No Brainer Images 2"),
    ("", "AIPromptInformation", "no text,\nstudio light"),
    ("openai sora", "Credit", "OpenAI Sora"),
    ("midjourney", "Artist", "Midjourney"),
    ("z-image", "Software", "Z-Image-Turbo"),
    ("generative fill", "softwareAgent", "Adobe Photoshop (Generative Fill)"),
    ("A1111", "parameters", "a robot\nSteps: 25\nSampler: Euler\nSeed: 3"),
    ("A1111", "Description", "Include in Image: cat; Model: sd; Steps: 12; Guidance Scale: 11; Seed: 1"),
    ("001191110102MACQD9K64010000", "AIGC", '{"Label": "1", "ContentProducer": "001191110102MACQD9K64010000"}'),
]


@pytest.mark.parametrize(("by", "key", "text"), PROGRAMS, ids=[f"{by}-{key}" for by, key, _ in PROGRAMS])
def test_programs_are_recognised_in_every_kind_of_png_text(by: str, key: str, text: str) -> None:
    for options in ({}, {"zip": True}, {"international": True}, {"international": True, "zip": True}):
        (found,) = declared(with_texts((key, text), **options))
        assert by.lower() in found["by"].lower()
        assert found["where"] == f"PNG text {key}"


@pytest.mark.parametrize("text", [SETTINGS, GRAPH, '{"sui_image_params": {}}', f"woman --v 6.1 Job ID: {JOB}"])
@pytest.mark.parametrize("place", ["comment", "description", "xmp", "caption", "gif"])
def test_settings_are_read_wherever_tools_carry_them(text: str, place: str) -> None:
    plain = encode(draw_picture(1), "JPEG")
    escaped = text.replace("&", "&amp;").replace('"', "&quot;")
    exif = Pillow.Exif()
    exif[0x010E] = text
    buffer = io.BytesIO()
    dataset = b"\x1c\x02\x78" + struct.pack(">H", len(text)) + text.encode()
    block = b"Photoshop 3.0\x008BIM\x04\x04\0\0" + struct.pack(">I", len(dataset)) + dataset
    Pillow.fromarray(draw_picture(1)).save(buffer, "GIF", comment=text.encode())
    data = {
        "comment": plain[:2] + b"\xff\xfe" + struct.pack(">H", len(text) + 2) + text.encode() + plain[2:],
        "description": with_block(exif.tobytes().removeprefix(b"Exif\0\0")),
        "xmp": with_xmp(f'<dc:description><rdf:Alt><rdf:li xml:lang="x">{escaped}</rdf:li></rdf:Alt></dc:description>'),
        "caption": plain[:2] + b"\xff\xed" + struct.pack(">H", len(block) + 2) + block + plain[2:],
        "gif": buffer.getvalue(),
    }[place]
    assert len(declared(data)) == 1


def test_comfyui_writes_into_make_and_model_and_that_is_no_camera() -> None:
    exif = Pillow.Exif()
    exif[0x010F], exif[0x0110] = 'workflow:{"last_node_id": 1, "nodes": []}', f"prompt:{GRAPH}"
    data = with_block(exif.tobytes().removeprefix(b"Exif\0\0"), "WEBP")
    assert declared(data)[0]["by"] == "ComfyUI"
    assert check(data).details["camera"] is None


def test_comfyui_writes_into_a_chunk_of_its_own() -> None:
    plain = encode(draw_picture(1))
    body = b"comfprompt\0" + GRAPH.encode()
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    assert declared(plain[:-12] + chunk + plain[-12:])


def test_a_prompt_beside_other_settings_is_a_mark() -> None:
    """The prompt alone may be anything; a program that writes each setting as a field writes others, too."""
    (found,) = declared(with_texts(("prompt", "a woman"), ("seed", "12")))
    assert (found["by"], found["where"]) == ("a text-to-image program", "PNG text prompt")


@pytest.mark.parametrize("tag", [33723, 34377])
@pytest.mark.parametrize("numbers", [False, True])
def test_iptc_of_a_tiff_is_read(tag: int, numbers: bool) -> None:
    text = b"Made with Google AI " + b" " * 7  # with its head 32 bytes, which are eight numbers
    block = b"\x1c\x02\x6e" + struct.pack(">H", len(text)) + text
    if tag == 34377:
        block = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(block)) + block
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    directory[tag], directory.tagtype[tag] = block, 7
    buffer = io.BytesIO()
    Pillow.fromarray(draw_picture(1)).save(buffer, "TIFF", tiffinfo=directory)
    data = buffer.getvalue()
    if numbers:
        data = data.replace(struct.pack("<HHI", tag, 7, len(block)), struct.pack("<HHI", tag, 4, len(block) // 4))
    assert declared(data)[0]["where"] == "IPTC Credit"


def test_software_tags_of_exif_3_are_read() -> None:
    exif = Pillow.Exif()
    exif.get_ifd(0x8769)[0xA43B] = "Midjourney 7"
    assert declared(with_block(exif.tobytes().removeprefix(b"Exif\0\0")))[0]["where"] == "EXIF ImageEditingSoftware"


def test_texts_and_exif_after_the_end_of_a_png_are_read() -> None:
    plain, exif = encode(draw_picture(1)), Pillow.Exif()
    exif[0x0131] = "DALL-E 3"
    for body in (b"tEXtparameters\0" + SETTINGS.encode(), b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")):
        assert declared(plain + struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body)))
    assert declared(plain + b"PK\3\4" + SETTINGS.encode()) == []


def test_what_needs_a_second_field_is_no_mark_without_it() -> None:
    signature = Field("EXIF", "ImageDescription", "Signature: " + "Ab+/" * 20)
    assert find_marks([signature]) == []
    assert find_marks([signature, Field("EXIF", "Artist", JOB)])[0].by == "xAI Grok"
    description = Field("PNG text", "Description", f"portrait of a woman Job ID: {JOB}")
    assert find_marks([description]) == []
    assert find_marks([description, Field("PNG text", "Author", "someone")])[0].by == "Midjourney"


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("parameters", "exposure 2"),
        ("prompt", "the photographer was prompt, the light stable, diffusion soft"),
        ("prompt", "[" * 100_000),
        ("prompt", '{"prompt": "write about your holiday", "answer": "see the picture"}'),
        ("workflow", "scan, crop, print; two nodes"),
        ("Comment", "a stable diffusion of light; prompt delivery"),
        ("Comment", "not made by Midjourney"),
        ("Comment", "Steps: 3 flights of stairs. Seed: none"),
        ("Comment", '{"filter": 0, "mirror": false, "scene": "portrait", "seed": 3}'),
        ("Comment", '{"data": {"product": "retouch"}, "aigc_info": {"aigc_label_type": 0}}'),
        ("Comment", '{"model": "SM-S918B", "steps": 4, "sampler": "none"}'),
        ("Comment", "filter: 0; fileterIntensity: 0.0; filterMask: 0; captureOrientation: 0; module: photo"),
        ("Description", "The Midjourney office in San Francisco, photographed for a story on Stable Diffusion"),
        ("Description", "Wedding, order 12, Job ID: 88213"),
        ("Description", f"Wedding, Job ID: {JOB}"),
        ("Title", "Stable Diffusion explained: Steps: many"),
        ("Title", "How an AI generated image is made"),
        ("Software", "Adobe Photoshop 25.0 (Windows)"),
        ("Software", "Preface 3.0"),
        ("Software", "Adobe Lightroom 13.2 (Macintosh)"),
        ("Credit", "Tongyi Li"),
        ("Credit", "OpenAI via AP"),
        ("Source", "Black Forest Labs, handout"),
        ("Source", "FinePix A340"),
        ("Credit", "Ai Weiwei"),
        ("Credit", "Getty Images / AI lab"),
        ("Credit", "Kai Generated Productions"),
        ("Source", "Conference on AI-generated images, press kit"),
        ("Software", "Imagen Profesional 3"),
        ("Software", "Gemini Duplicate Finder"),
        ("Software", "f.lux 4.1"),
        ("Model", "Runway"),
        ("Credit", "NASA Gemini 7 image"),
        ("Credit", "Gemini Observatory/AURA image"),
        ("Source", "Imagen 2 / EFE"),
        ("Credit", "Yoon Sora"),
        ("Credit", "Taro Kohya / Kyodo"),
        ("Credit", "Pixel Studio Hamburg"),
        ("Credit", "Magic Media GmbH"),
        ("Credit", "Image Playground Photography"),
        ("Credit", "Runway Generation Magazine"),
        ("Credit", "Recraft Furniture"),
        ("Credit", "Xiaomi AIoT press"),
        ("Credit", "Kling Aimée"),
        ("Software", "Flux 2 Darkroom"),
        ("Comment", "Steps: 3, Seed: tomato"),
        ("AISystemUsed", "None"),
        ("AISystemUsed", "no AI was used"),
        ("AISystemVersionUsed", "N/A"),
        ("AIPromptInformation", "not applicable."),
        ("prompt", "a woman, studio light"),
        ("Author", "John Midjourney"),
        ("Dream", "I had a dream"),
        ("AIGC", "Applied Imaging, Geneva Camera Club"),
        ("AIGC", '{"Label": "0"}'),
        ("Label", "1"),
        ("a negative prompt", "a name that only contains one of the table"),
    ],
)
def test_what_people_and_cameras_write_is_no_mark(key: str, text: str) -> None:
    assert declared(with_texts((key, text))) == []
    assert check(with_texts((key, text))).details["possibly_generated"] == []


def test_an_editing_history_is_no_mark() -> None:
    steps = "".join(
        f'<rdf:li stEvt:action="saved" stEvt:softwareAgent="Adobe {name}" stEvt:changed="/"/>'
        for name in ("Photoshop 25.0 (Windows)", "Photoshop Lightroom Classic 13.2", "Photoshop Camera Raw 16.1")
    )
    written = (
        f"<xmpMM:History><rdf:Seq>{steps}</rdf:Seq></xmpMM:History>"
        "<photoshop:History>Open stable-diffusion-notes.psd; prompt: none</photoshop:History>"
        "<dc:subject><rdf:Bag><rdf:li>midjourney</rdf:li><rdf:li>AI</rdf:li></rdf:Bag></dc:subject>"
    )
    found = check(with_xmp(written))
    assert declared(with_xmp(written)) == []
    assert len(found.details["editors"]) == 3
    firefly = written.replace("Adobe Photoshop Camera Raw 16.1", "Adobe Firefly")
    assert declared(with_xmp(firefly)) == [
        {"says": "the name of a generator", "by": "Adobe Firefly", "signed_by": "", "where": "XMP softwareAgent"}
    ]


AIGC = {"Label": "1", "ContentProducer": "00119", "ProduceID": "p", "ReservedCode1": "", "ContentPropagator": "00220"}


@pytest.mark.parametrize("label", [1, "1", "2", "3"])
@pytest.mark.parametrize("place", ["element", "attribute", "parts", "comment", "unicode", "text", "chunk", "nested"])
def test_chinese_labels_are_read_by_their_values(label: Any, place: str) -> None:
    plain = json.dumps(AIGC | {"Label": label})
    whole, escaped = f'{{"AIGC": {plain}}}', plain.replace('"', "&quot;")
    space = 'xmlns:TC260="http://www.tc260.org.cn/ns/AIGC/1.0/"'
    parts = f"<TC260:Label>{label}</TC260:Label><TC260:ContentProducer>00119</TC260:ContentProducer>"
    data = {
        "element": lambda: with_xmp(f"<TC260:AIGC>{escaped}</TC260:AIGC>", space),
        "attribute": lambda: with_xmp("", f'{space} TC260:AIGC="{escaped}"'),
        "parts": lambda: with_xmp(f'<TC260:AIGC rdf:parseType="Resource">{parts}</TC260:AIGC>', space),
        "comment": lambda: with_block(comment_block(b"ASCII\0\0\0" + whole.encode())),
        "unicode": lambda: with_block(comment_block(b"UNICODE\0" + whole.encode("utf-16-be"), ">")),
        "text": lambda: with_texts(("AIGC", plain)),
        "chunk": lambda: with_texts(("Comment", whole)),
        "nested": lambda: with_texts(("AIGC", json.dumps({"AIGC": plain}))),
    }[place]()
    found = check(data)
    sure = str(label) == "1"
    (mark,) = found.details["declared_generated" if sure else "possibly_generated"]
    meaning = {"1": "(generated)", "2": "(possibly generated)", "3": "(suspected of being generated)"}[str(label)]
    assert mark["says"] == f"GB 45438-2025 label {label} {meaning}"
    assert mark["by"] == "00119"
    assert meaning in found.summary
    assert found.outcome == (Outcome.SUPPORTS_FAKE if sure else Outcome.NEUTRAL)
    assert found.details["possibly_generated" if sure else "declared_generated"] == []


OTHER_TYPES = ("digitalCapture", "computationalCapture", "algorithmicallyEnhanced", "digitalCreation", "humanEdits",
               "screenCapture", "composite", "virtualRecording")  # fmt: skip


@pytest.mark.parametrize("name", [*GENERATED, *OTHER_TYPES])
def test_source_types_of_iptc(name: str) -> None:
    for url in (f"http://cv.iptc.org/newscodes/digitalsourcetype/{name}", f"digsrctype:{name}", name):
        found = check(with_xmp("", f'Iptc4xmpExt:DigitalSourceType="{url}" xmp:CreatorTool="a tool"'))
        assert (found.outcome == Outcome.SUPPORTS_FAKE) == (name in GENERATED)
        for mark in found.details["declared_generated"]:
            assert GENERATED[name] in mark["says"]
            assert (mark["by"], mark["where"]) == ("a tool", "XMP DigitalSourceType")
    assert found.details["digital_source_types"] == [name]


def test_fields_of_iptc_name_the_system() -> None:
    found = declared(with_xmp("<Iptc4xmpExt:AISystemUsed>Some System 3</Iptc4xmpExt:AISystemUsed>"))
    assert found == [{"says": "IPTC AI system", "by": "Some System 3", "signed_by": "", "where": "XMP AISystemUsed"}]
    assert declared(with_xmp("", 'Iptc4xmpExt:AIPromptInformation="a woman"'))


def test_the_mark_of_samsungs_editor_is_read() -> None:
    def with_trailer(kind: int) -> bytes:
        text = f'{{"genAIType": {kind}}}'.encode()
        name = b"PhotoEditor_Re_Edit_Data"
        block = struct.pack("<HHI", 0, 0x0BA1, len(name)) + name + text
        head = b"SEFH" + struct.pack("<II", 107, 1) + struct.pack("<HHII", 0, 0x0BA1, len(block), len(block))
        return encode(draw_picture(1), "JPEG") + block + head + struct.pack("<I", len(head)) + b"SEFT"

    assert declared(with_trailer(0)) == []
    assert declared(with_trailer(2))[0]["where"] == "trailer PhotoEditor_Re_Edit_Data"


def test_our_own_fakes_are_declared_generated() -> None:
    from detector.pictures.labelling import xmp_packet

    found = declared(insert_xmp(encode(draw_picture(1), "WEBP"), xmp_packet("style", 1, "c")))
    assert {d["by"] for d in found} == {"detector generator", "detector generator style"}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(
    st.sampled_from(["comment", "text", "itxt", "ztxt", "xmp", "raw", "gif", "iptc", "exif", "jpeg"]),
    st.binary(max_size=600),
)
def test_no_bytes_raise_an_error(place: str, body: bytes) -> None:
    plain, png = encode(draw_picture(1, size=16), "JPEG"), encode(draw_picture(1, size=16))

    def chunk(name: bytes) -> bytes:
        return png[:33] + struct.pack(">I", len(body)) + name + body + bytes(4) + png[33:]

    def segment(code: int, head: bytes) -> bytes:
        return plain[:2] + bytes([0xFF, code]) + struct.pack(">H", len(head + body) + 2) + head + body + plain[2:]

    data = {
        "comment": segment(0xE1, b"Exif\0\0" + comment_block(b"UNICODE\0" + body)),
        "text": chunk(b"tEXt"),
        "itxt": chunk(b"iTXt"),
        "ztxt": chunk(b"zTXt"),
        "xmp": segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta><rdf:RDF>"),
        "raw": png[:33] + struct.pack(">I", len(body) + 27) + b"tEXtRaw profile type exif\0x\n1" + body + png[33:],
        "gif": b"GIF89a\1\0\1\0\0\0\0" + body,
        "iptc": segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\1\0"),
        "exif": segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0"),
        "jpeg": plain + body,
    }[place]
    for name in (metadata, file):
        found = name.check(make_exhibit(data, Path("x.jpg")))
        json.dumps(dict(found.details), allow_nan=False)


@pytest.mark.parametrize(
    "name", ["trainedAlgorithmicData", "compositeSynthetic", "compositeWithTrainedAlgorithmicMedia"]
)
@pytest.mark.parametrize("field", ["DigitalSourceType", "DigitalSourceFileType", "DigitalSourcefileType"])
def test_the_source_type_is_read_under_its_earlier_name_too(field: str, name: str) -> None:
    assert len(declared(with_xmp(f"<Iptc4xmpExt:{field}>http://x.org/y/{name}</Iptc4xmpExt:{field}>"))) == 1


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_of_avif_is_read_where_its_item_lies(order: str) -> None:
    data = with_block(comment_block(b"ASCII\0\0\0" + SETTINGS.encode(), order), "AVIF")
    assert dict(read_exif_texts(data))["UserComment"] == SETTINGS
    assert declared(data)[0]["where"] == "EXIF UserComment"


def test_a_second_exif_segment_hides_no_mark() -> None:
    first, second = (with_block(comment_block(b"ASCII\0\0\0" + text)) for text in (b"a holiday", SETTINGS.encode()))
    at = second.index(b"\xff\xe1")
    size = 2 + struct.unpack(">H", second[at + 2 : at + 4])[0]
    start = first.index(b"\xff\xdb")
    assert declared(first) == []
    assert len(declared(first[:start] + second[at : at + size] + first[start:])) == 1
