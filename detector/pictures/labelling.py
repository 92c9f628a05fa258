"""Label our own fakes: XMP with the IPTC source type, a signed C2PA manifest, and a line in the fingerprint registry.

The labels lie outside the pixels, so that a detector trained on our fakes cannot learn a mark. Each of the three
labels has its use: the manifest proves the origin, platforms read the XMP, and the fingerprint still works after all
metadata is removed.
"""

from __future__ import annotations

import contextlib
import datetime
import io
import os
import re
import struct
import zlib
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from detector.errors import DetectorError, MissingExtra, UnsupportedFormat
from detector.files import home, sha256, write_bytes
from detector.pictures.containers import PNG_MAGIC, XMP_JPEG, XMP_PNG, parts, sniff
from detector.pictures.fingerprints import Fingerprint, append, perceptual_hash
from detector.pictures.images import decode

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
LABELLED = ("JPEG", "PNG", "WEBP")  # formats that can be labelled without changing the pixels
VALID_DAYS = 3650
_PEM = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.+?-----END \1-----\s*", re.S)
_CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}  # C2PA's names of the algorithms

# No network connection is made: neither to fetch a remote manifest nor to check whether a certificate was revoked.
C2PA_SETTINGS: dict[str, Any] = {
    "version": 1,
    "core": {"allowed_network_hosts": []},
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
    "builder": {"thumbnail": {"enabled": False}},
}


@dataclass(frozen=True)
class Signer:
    """Who signs: a PEM chain (leaf first), its private key in PEM, and the key's algorithm as C2PA names it."""

    chain: bytes
    key: bytes
    algorithm: str = "ed25519"


def label_file(
    path: Path,
    data: bytes,
    *,
    generator: str,
    seed: int,
    checkpoint: str,
    signer: Signer | None = None,
    registry: Path | None = None,
    known: Container[Fingerprint] = (),
) -> bytes:
    """Write a picture with its labels and unchanged pixels, then add its line to the fingerprint registry.

    signer: the user's own; None means the local signer if c2pa-python is installed, and no manifest otherwise. A
    manifest has its own identifier and time, so two labelled files of one picture differ. known: the fingerprints that
    the registry holds; a file with a known fingerprint and these pixels is kept, so that a repeated run after a kill
    adds no second line for it.

    Returns the content of the file. Raises UnsupportedFormat for other files than JPEG, PNG and WebP; what `decode`
    raises for damaged files; DetectorError if the registry or the certificate cannot be written; OSError if the file
    cannot be written.
    """
    pixels = decode(data)
    phash = perceptual_hash(pixels)
    there = path.read_bytes() if known and path.is_file() else b""
    if Fingerprint(sha256(there), phash, generator, seed, checkpoint) in known and np.array_equal(
        decode(there), pixels
    ):
        return there
    labelled = insert_xmp(data, xmp_packet(generator, seed, checkpoint))
    with _writing_home(registry):
        if signer is None and has_c2pa():
            signer = local_signer()
    if signer is not None:
        labelled = sign(labelled, signer, generator=generator, seed=seed, checkpoint=checkpoint)
    write_bytes(path, labelled)
    with _writing_home(registry):
        append([Fingerprint(sha256(labelled), phash, generator, seed, checkpoint)], registry)
    return labelled


@contextlib.contextmanager
def _writing_home(registry: Path | None) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DetectorError(
            f"{registry or home()} cannot be written ({error.strerror or error}): set DETECTOR_HOME to a folder of "
            "yours, or leave the labels out"
        ) from None


def xmp_packet(generator: str, seed: int, checkpoint: str) -> bytes:
    """Return an XMP packet that declares trained algorithmic media.

    Source: IPTC Photo Metadata Standard 2025.1, property Digital Source Type; XMP part 1, section 7.
    """
    from xml.sax.saxutils import quoteattr

    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""'
        ' xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"'
        ' xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
        f" xmp:CreatorTool={quoteattr(f'detector generator {generator}')}"
        f" dc:source={quoteattr(f'checkpoint {checkpoint}, seed {seed}')}"
        f' Iptc4xmpExt:DigitalSourceType="{SOURCE_TYPE}"/></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
    ).encode()


def insert_xmp(data: bytes, packet: bytes) -> bytes:
    """Return the file with this XMP packet in place of any other.

    Raises UnsupportedFormat for other files than JPEG, PNG and WebP.
    """
    kind = sniff(data)
    if kind not in LABELLED:
        raise UnsupportedFormat(f"only {', '.join(LABELLED)} files can be labelled; write one of these")
    for part in reversed(parts(data)):  # the old packets go first
        old = part.payload.startswith((XMP_JPEG, XMP_PNG + b"\0")) or part.name == "XMP "
        if old and part.name in ("APP1", "iTXt", "XMP "):
            size = len(part.payload) + {"JPEG": 4, "PNG": 12, "WEBP": 8 + len(part.payload) % 2}[kind]
            data = data[: part.offset] + data[part.offset + size :]
    if kind == "JPEG":
        body = XMP_JPEG + packet
        after = 2 + next((4 + len(p.payload) for p in parts(data) if p.name == "APP0" and p.offset == 2), 0)
        return data[:after] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[after:]
    if kind == "PNG":
        body = b"iTXt" + XMP_PNG + b"\0\0\0\0\0" + packet
        chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        after = len(PNG_MAGIC) + 25  # the header chunk comes first and has a fixed length
        return data[:after] + chunk + data[after:]
    return _webp_with_xmp(data, packet)


def has_c2pa() -> bool:
    """Return whether manifests can be signed and read, which needs the extra `evidence`."""
    from importlib.util import find_spec

    return find_spec("c2pa") is not None and find_spec("cryptography") is not None


def sign(data: bytes, signer: Signer, *, generator: str, seed: int, checkpoint: str) -> bytes:
    """Return the file with a C2PA manifest: created, by this generator, as trained algorithmic media.

    Raises MissingExtra without c2pa-python; UnsupportedFormat if the file or the certificate is refused.
    """
    if not has_c2pa():
        raise MissingExtra("signing needs c2pa-python: pip install 'face-forgery-detector[evidence]'")
    import c2pa

    action = {
        "action": "c2pa.created",
        "digitalSourceType": SOURCE_TYPE,
        "softwareAgent": {"name": f"detector generator {generator}"},
        "parameters": {"seed": seed, "checkpoint": checkpoint},
    }
    manifest = {
        "claim_generator_info": [{"name": "detector"}],
        "title": f"{generator} {seed}",
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [action]}}],
    }
    signed = io.BytesIO()
    try:
        credentials = c2pa.C2paSignerInfo(signer.algorithm, signer.chain, signer.key, None)
        with c2pa.Context.from_dict(C2PA_SETTINGS) as context, c2pa.Builder(manifest, context) as builder:
            mime = f"image/{sniff(data).lower()}"
            builder.sign(c2pa.Signer.from_info(credentials), mime, io.BytesIO(data), signed)
    except c2pa.C2paError as error:
        raise UnsupportedFormat(f"c2pa will not sign it: {' '.join(str(error).split())[:160]}") from None
    return signed.getvalue()


def read_signer(path: Path | str) -> Signer:
    """Return the signer of a PEM file with a private key (without a password) and its certificates, leaf first.

    Raises MissingExtra without the cryptography package; DetectorError if the file is not such a PEM file.
    """
    try:
        from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            NoEncryption,
            PrivateFormat,
            load_pem_private_key,
        )
    except ImportError:
        raise MissingExtra("signing needs cryptography: pip install 'face-forgery-detector[evidence]'") from None

    path = Path(path)
    try:
        blocks = [(m[1], m[0].strip() + b"\n") for m in _PEM.finditer(path.read_bytes())]
        chain = b"".join(text for what, text in blocks if what == b"CERTIFICATE")
        keys = [load_pem_private_key(text, None) for what, text in blocks if what.endswith(b"PRIVATE KEY")]
    except OSError as error:
        raise DetectorError(f"{path} cannot be read: {error.strerror or error}") from None
    except Exception:  # cryptography raises several kinds of errors: for a password, an unknown curve, broken base64
        keys, chain = [], b""
    if len(keys) != 1 or not chain:
        raise DetectorError(f"{path.name} must hold one private key without a password, and certificates, as PEM")
    key = keys[0]
    if isinstance(key, Ed25519PrivateKey):
        algorithm = "ed25519"
    elif isinstance(key, EllipticCurvePrivateKey):
        algorithm = _CURVES.get(key.curve.name, "")
    else:
        algorithm = "ps256" if isinstance(key, RSAPrivateKey) else ""
    if not algorithm:
        raise DetectorError(f"{path.name}: C2PA signs with Ed25519, P-256, P-384, P-521 or RSA keys; take one of these")
    return Signer(chain, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), algorithm)


def local_signer(folder: Path | None = None) -> Signer:
    """Return the signer of this installation. Its keys are made on first use; others may trust `root.pem` beside them.

    Raises MissingExtra without the cryptography package.
    """
    folder = folder or home() / "certificate"
    path = folder / "signer.pem"  # key and chain are in one file, so that two processes cannot mix their first keys
    if not path.is_file():
        chain, key = _make_certificate()
        folder.mkdir(parents=True, exist_ok=True)
        own = folder / f".{os.getpid()}.pem"
        with os.fdopen(os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(key + chain)
        with contextlib.suppress(FileExistsError):  # another process was faster, and its key is used
            os.link(own, path)
        own.unlink()
    key, begin, certificates = path.read_bytes().partition(b"-----BEGIN CERTIFICATE")
    chain = begin + certificates
    if not (folder / "root.pem").is_file():
        write_bytes(folder / "root.pem", chain[chain.rindex(begin) :])
    return Signer(chain, key)


def _make_certificate() -> tuple[bytes, bytes]:
    """Return (chain, key) in PEM of a new leaf, signed by a new root whose key is discarded.

    Source: C2PA specification 2.2, section 14.5.1 (certificate profile: key usage, extended key usage).
    """
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
        from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
    except ImportError:
        raise MissingExtra("a certificate needs cryptography: pip install 'face-forgery-detector[evidence]'") from None

    root_key, leaf_key = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)

    def name(common: str) -> x509.Name:
        who = ((NameOID.ORGANIZATION_NAME, "detector, this installation"), (NameOID.COMMON_NAME, common))
        return x509.Name([x509.NameAttribute(oid, text) for oid, text in who])

    def certificate(common: str, key: Ed25519PublicKey, *, root: bool) -> x509.Certificate:
        usage = {
            "digital_signature": not root, "key_cert_sign": root, "crl_sign": root, "content_commitment": False,
            "key_encipherment": False, "data_encipherment": False, "key_agreement": False, "encipher_only": False,
            "decipher_only": False,
        }  # fmt: skip
        builder = (
            x509.CertificateBuilder()
            .subject_name(name(common))
            .issuer_name(name("local root"))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + datetime.timedelta(days=VALID_DAYS))
            .add_extension(x509.BasicConstraints(ca=root, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(**usage), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
        )
        if not root:
            builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
        return builder.sign(root_key, None)

    root = certificate("local root", root_key.public_key(), root=True).public_bytes(Encoding.PEM)
    leaf = certificate("local generator", leaf_key.public_key(), root=False).public_bytes(Encoding.PEM)
    return leaf + root, leaf_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _webp_with_xmp(data: bytes, packet: bytes) -> bytes:
    """Return a WebP with the XMP flag in its extended header, and the packet at the end (WebP container format)."""
    found = parts(data)
    header = bytearray(found[0].payload) if found and found[0].name == "VP8X" else None
    if header is None or len(header) != 10:
        height, width = decode(data).shape[:2]
        lossless = next((p.payload for p in found if p.name == "VP8L"), b"")
        alpha = 0x10 if len(lossless) > 4 and lossless[4] & 0x10 else 0
        header = bytearray([alpha, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    header[0] |= 0x04
    kept = [p for p in found if p.name != "VP8X"]
    pieces = [("VP8X", bytes(header)), *((p.name, p.payload) for p in kept), ("XMP ", packet)]
    body = b"".join(n.encode("latin-1") + struct.pack("<I", len(b)) + b + b"\0" * (len(b) % 2) for n, b in pieces)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body
