"""The network of `cnn`: its looks, its map, its export."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from conftest import draw_picture, make_manifest
from onnx import TensorProto
from PIL import Image as Pillow
from PIL import ImageOps

from detector.dataset.embedded import unpack_faces
from detector.detectors import _export
from detector.detectors._export import ROUNDED, export, halve, smooth
from detector.detectors._fitting import Fitting, Schedule, group_by_depth, score_faces
from detector.detectors._nets import _overlaps, _shrink
from detector.detectors.cnn import Cnn
from detector.errors import CheckpointError, DetectorError, UnknownName
from detector.learning.attacks import attack
from detector.learning.backbones import make_backbone
from detector.learning.seeds import seeded
from detector.learning.state import state_to_numpy
from detector.pictures.faces import prepare, widen
from detector.pictures.images import load, resize
from detector.scoring import checkpoint
from detector.scoring.checkpoint import COMPRESSED, MODEL, SHIPPED, write_checkpoint
from detector.scoring.runtime import Session
from detector.types import Transform, silent


def test_a_mirrored_detector_scores_a_face_and_its_mirror_image_alike() -> None:
    detector = Cnn.load(SHIPPED / "default")
    faces = np.stack([draw_picture(i, size=detector.size, fake=i % 2 == 1) for i in range(4)])
    flipped = np.ascontiguousarray(faces[:, :, ::-1])
    assert not np.allclose(detector.score(faces), detector.score(flipped), atol=1e-2)
    detector.mirrored = True
    assert np.allclose(detector.score(faces), detector.score(flipped), atol=1e-4)
    assert np.allclose(detector.explain(faces), detector.explain(flipped)[:, :, ::-1], atol=1e-3)


def test_a_tight_crop_gets_the_mean_of_two_scores(tmp_path: Path) -> None:
    detector, alone = Cnn.load(SHIPPED / "default"), Cnn.load(SHIPPED / "default")
    detector.widened = True
    tight = prepare(load(unpack_faces(tmp_path).path.iloc[28]), detector.size)
    wide = widen(tight)
    assert wide is not None
    half, edge = detector.size // 2, detector.size // 4
    loose = np.pad(resize(tight, half, half), ((edge, edge), (edge, edge), (0, 0)), constant_values=128)
    first, second, third = alone.score(np.stack([tight, wide, loose]))
    assert abs(first - second) > 0.1
    assert np.allclose(detector.score(np.stack([loose, tight])), [third, (first + second) / 2], atol=1e-4)
    means = detector.explain(np.stack([loose, tight])).mean((1, 2))
    assert np.allclose(means, [third, (first + second) / 2], atol=0.05)


def test_a_face_in_one_tone_has_the_score_and_the_map_of_the_grey_one(tmp_path: Path) -> None:
    """A tone moves the score of a photograph far, and says nothing of where its face comes from."""
    detector = Cnn.load(SHIPPED / "default")
    face = Pillow.fromarray(prepare(load(unpack_faces(tmp_path).path.iloc[0]), detector.size)).convert("L")
    toned = np.asarray(ImageOps.colorize(face, "#102000", "#e0ffd0"))
    grey = np.asarray(Pillow.fromarray(toned).convert("L"))[..., None].repeat(3, 2)
    both = np.stack([toned, grey])
    assert np.ptp(detector.score(both)) == 0
    assert np.ptp(detector.explain(both), axis=0).max() == 0


def test_the_map_of_the_shipped_detector_adds_up_to_its_score() -> None:
    detector = Cnn.load(SHIPPED / "default")
    faces = np.stack([draw_picture(i, size=detector.size, fake=i % 2 == 1) for i in range(4)])
    session, _ = detector._ready()
    assert np.allclose(session.maps(faces).mean((1, 2)), session.logits(faces), atol=1e-3)
    assert (SHIPPED / "default" / "model.onnx").stat().st_size < 30e6


def test_the_thresholds_hold_for_altered_pictures_too(tmp_path: Path) -> None:
    """Otherwise photographs that a messaging app compressed would be called fakes more often than the others."""
    detector = Cnn.load(SHIPPED / "default")
    table = make_manifest(tmp_path, n=24)
    faces = detector._faces(table)
    odds = detector.score(faces)
    table["label"] = (odds > np.median(odds)).astype(int)
    table["dataset"] = np.where(table.index % 3 == 0, "a", "b")
    suspicious = faces[odds.argmax()]

    def accuses_suspicious(alter: Transform | None) -> bool:
        calibration = detector.calibrate(table, alter=alter).calibration
        assert calibration is not None
        return float(detector.score(suspicious[None])[0]) > calibration.fake_above

    assert accuses_suspicious(None)
    assert not accuses_suspicious(lambda face, key: suspicious)


def test_the_whole_face_is_shrunk_as_by_resize() -> None:
    face = draw_picture(1, size=64)
    shrink = _shrink(64, 48)
    small = np.einsum("ab,bcd->acd", shrink, np.einsum("ab,cbd->cad", shrink, face.astype(float)))
    assert np.abs(small - resize(face, 48, 48)).max() < 1.5


@pytest.mark.parametrize(("cells", "places"), [(3, 4), (2, 2), (1, 4), (3, 7)])
def test_a_coarser_map_is_spread_without_changing_its_mean(cells: int, places: int) -> None:
    values = np.random.default_rng(0).normal(size=cells)
    spread = _overlaps(cells, places)
    assert np.allclose(spread.sum(1), 1, atol=1e-6)
    assert np.isclose((spread @ values).mean(), values.mean(), atol=1e-6)


def test_two_scales_are_the_mean_of_the_whole_face_and_its_middle(manifest: pd.DataFrame, tmp_path: Path) -> None:
    detector = Cnn(backbone="resnet10t", pretrained=False, size=128, second=64, window=32, epochs=1)
    detector.fit(manifest, seed=0, folder=tmp_path).save(tmp_path)
    net = detector._net
    faces = np.stack([draw_picture(i, size=128) for i in range(3)])
    whole = np.stack([resize(face, 64, 64) for face in faces])
    parts = [torch.from_numpy(part) for part in (whole, faces[:, 32:96, 32:96].copy())]
    with torch.no_grad():
        mean = (net.net(parts[0]) + net.net(parts[1])) / 2
        assert torch.allclose(net(torch.from_numpy(faces)), mean, atol=0.05)  # `whole` is rounded to 8 bits
        again = net(torch.from_numpy(faces))
        assert torch.allclose(net.maps(torch.from_numpy(faces)).mean((1, 2)), again, atol=1e-4)
        assert torch.equal(net(parts[0]), net.net(parts[0]))
    session, _ = Cnn.load(tmp_path)._ready()
    assert np.allclose(session.logits(faces), again.numpy(), atol=1e-3)


def test_a_halved_file_gives_nearly_the_same_logits(tmp_path: Path) -> None:
    net = Cnn(backbone="resnet10t", pretrained=False, size=64)._build()
    with torch.no_grad():
        net.backbone.get_classifier().weight.normal_(0, 0.05, generator=torch.Generator().manual_seed(0))
    export(net, 64, tmp_path)
    faces = np.stack([draw_picture(i, size=64) for i in range(3)])
    before, size = Session(tmp_path).logits(faces), (tmp_path / MODEL).stat().st_size
    halve(tmp_path / MODEL)
    assert (tmp_path / MODEL).stat().st_size < 0.6 * size
    assert np.abs(Session(tmp_path).logits(faces) - before).max() < 0.03


@pytest.mark.parametrize(("size", "second"), [(64, 0), (96, 48)])
def test_a_vision_transformer_is_exported_with_its_map(size: int, second: int, tmp_path: Path) -> None:
    """Its positions are resampled to the face, and the mean of the logits of its patches is that of the face."""
    with seeded(0):
        net = Cnn(backbone="vit_tiny_patch16_224", pretrained=False, size=size, second=second)._build().eval()
    backbone = net.net.backbone if second else net.backbone
    with torch.no_grad():
        backbone.get_classifier().weight.normal_(0, 0.5, generator=torch.Generator().manual_seed(0))
    positions = backbone.pos_embed.shape
    export(net, size, tmp_path)
    session = Session(tmp_path)
    faces = np.stack([draw_picture(i, size=size) for i in range(3)])
    with torch.no_grad():
        logits = net(torch.from_numpy(faces)).numpy()
    assert np.ptp(logits) > 0.01
    assert np.abs(session.logits(faces) - logits).max() < min(ROUNDED * (1 + logits.max()), 0.5 * np.ptp(logits))
    assert session.mapped
    assert session.maps(faces).shape == ((3, 6, 6) if second else (3, 4, 4))
    assert np.abs(session.maps(faces).mean((1, 2)) - session.logits(faces)).max() < 0.001
    assert backbone.pos_embed.shape == positions  # the network itself stays as it was


@pytest.mark.parametrize(("size", "views"), [(64, "whole"), (128, "64+96:48")])
def test_the_logit_of_several_backbones_is_their_mean_and_so_is_their_map(
    size: int, views: str, tmp_path: Path
) -> None:
    """Each sees its part of the face as it would alone; the maps of parts are surrounded by zeros, and stretched."""
    names = ("resnet10t", "vit_tiny_patch16_224")
    with seeded(0):
        net = Cnn(backbone="+".join(names), pretrained=False, size=size, views=views)._build().eval()
    faces = np.stack([draw_picture(i, size=size) for i in range(3)])
    parts = [faces, faces]
    if views != "whole":
        parts = [
            faces[:, 32:96, 32:96].copy(),
            np.stack([resize(face[16:112, 16:112].copy(), 48, 48) for face in faces]),
        ]
    alone = []
    with torch.no_grad():
        for i, (view, seen) in enumerate(zip(net.nets, parts, strict=True)):
            view.net.backbone.get_classifier().weight.normal_(0, 0.15, generator=torch.Generator().manual_seed(i))
            single = Cnn(backbone=names[i], pretrained=False, size=seen.shape[1])._build()
            single.load_state_dict(view.net.state_dict())
            alone.append(single.eval()(torch.from_numpy(seen)).numpy())
        together = net(torch.from_numpy(faces)).numpy()
    assert np.ptp(alone[0] - alone[1]) > 0.1
    np.testing.assert_allclose(together, np.mean(alone, 0), atol=0.05)  # `resize` rounds to whole grey levels
    export(net, size, tmp_path)
    session = Session(tmp_path)
    assert np.abs(session.logits(faces) - together).max() < min(ROUNDED * (1 + together.max()), 0.5 * np.ptp(together))
    assert session.maps(faces).shape == (3, 4, 4)
    assert np.abs(session.maps(faces).mean((1, 2)) - session.logits(faces)).max() < 0.001


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"backbone": "resnet10t", "views": "64:32"}, "leave out views"),
        ({"backbone": "resnet10t", "depth": "4"}, "the depth of resnet10t is 0"),
        *(({"backbone": "vit_tiny_patch16_224+resnet10t", "depth": depth}, "depth is a number for each backbone")
          for depth in ("4", "4+", "4+a", "4+0+0", "-1+0", "", "3,2+0", "2,2+0", "0,2+0", "2,+0")),
        ({"backbone": "resnet10t", "depth": "2,4"}, "the depth of resnet10t is 0"),
        ({"backbone": "vit_base_patch16_siglip_224", "depth": "1,2"}, "name one number of blocks: .* no class token"),
        ({"backbone": "resnet10t+resnet10t", "second": 32}, "leave out second"),
        *(({"backbone": "resnet10t+resnet10t", "views": views}, "views names 2 parts of a face of 64 pixels")
          for views in ("64", "64+96", "64+32:64", "64+a", "64+64:32:16", "64+0", "64+")),
    ],
)  # fmt: skip
def test_views_and_depths_without_an_effect_are_refused(arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(DetectorError, match=reason):
        Cnn(pretrained=False, size=64, **arguments)._build()


def test_a_transformer_has_as_many_blocks_as_asked_for() -> None:
    net = Cnn(backbone="vit_tiny_patch16_224", pretrained=False, size=64, depth="3")._build()
    assert len(net.backbone.blocks) == 3
    earlier: Any = {"depth": 3}  # in the card of an earlier version
    assert len(Cnn(backbone="vit_tiny_patch16_224", pretrained=False, size=64, **earlier)._build().backbone.blocks) == 3
    several = Cnn(backbone="+".join(["vit_tiny_patch16_224"] * 3), pretrained=False, size=64, depth="2+0+1")._build()
    assert [len(view.net.backbone.blocks) for view in several.nets] == [2, 12, 1]


def test_the_last_layer_may_see_the_class_token_after_several_blocks(tmp_path: Path) -> None:
    with seeded(0):
        net: Any = Cnn(backbone="vit_tiny_patch16_224", pretrained=False, size=64, depth="1,3")._build().eval()
    backbone, faces = net.backbone, torch.from_numpy(np.stack([draw_picture(i, size=64) for i in range(3)]))
    assert len(backbone.trunk.blocks) == 3
    seen: list[torch.Tensor] = []
    for number in (0, 2):
        backbone.trunk.blocks[number].register_forward_hook(lambda _, given, output: seen.append(output[:, 0]))
    with torch.no_grad():
        backbone.get_classifier().weight.normal_(generator=torch.Generator().manual_seed(0))
        logits = net(faces)
        expected = torch.cat(seen, 1) @ backbone.head.weight[0] + backbone.head.bias
        assert torch.allclose(logits, expected, atol=1e-5)
        assert np.ptp(logits.numpy()) > 0.01
        assert torch.allclose(net.maps(faces).mean((1, 2)), logits, atol=1e-5)
    export(net, 64, tmp_path)
    assert np.abs(Session(tmp_path).logits(faces.numpy()) - logits.numpy()).max() < 1e-3


def test_the_logit_of_a_class_token_belongs_to_every_position_alike() -> None:
    backbones = "tf_efficientnet_lite0+vit_base_patch16_clip_quickgelu_224"
    with seeded(0):
        net: Any = Cnn(backbone=backbones, pretrained=False, size=128, views="64+128:64", depth="0+1")._build().eval()
    for part in net.nets:
        part.net.backbone.get_classifier().weight.data.normal_(generator=torch.Generator().manual_seed(0))
    faces = torch.from_numpy(np.stack([draw_picture(i, size=128) for i in range(2)]))
    with torch.no_grad():
        even = net.nets[1].maps(faces)
        assert torch.allclose(even, net.nets[1](faces)[:, None, None].expand_as(even), atol=1e-4)
        assert torch.allclose(net.maps(faces).mean((1, 2)), net(faces), atol=1e-4)
        tokens = net.nets[1].net.backbone.forward_features(net.nets[1].part(faces))
        tokens[:, 1:] = 0
        assert torch.allclose(net.nets[1].net.backbone.forward_head(tokens).squeeze(1), net.nets[1](faces), atol=1e-4)


def test_an_unknown_backbone_among_several_is_named() -> None:
    with pytest.raises(UnknownName, match="resnet10z"):
        Cnn(backbone="resnet10t+resnet10z", pretrained=False)._build()


def test_early_blocks_of_a_transformer_learn_more_slowly(tmp_path: Path) -> None:
    """The learning rate falls by the factor with every block; a network without blocks learns at one rate."""
    net = Cnn(backbone="vit_tiny_patch16_224", pretrained=False, size=32)._build()
    groups = group_by_depth(net)
    assert sorted(groups) == list(range(14))
    assert {id(w) for weights in groups.values() for w in weights} == {id(w) for w in net.parameters()}
    assert any(weight is net.backbone.head.weight for weight in groups[0])
    assert any(weight is net.backbone.blocks[11].mlp.fc1.weight for weight in groups[1])
    assert any(weight is net.backbone.patch_embed.proj.weight for weight in groups[13])
    assert list(group_by_depth(Cnn(backbone="resnet10t", pretrained=False)._build())) == [0]
    schedule = Schedule(1, 0, 2, 4, 1e-3, 0.0, 20.0, layer_decay=0.5)
    fitting = Fitting(net, 32, schedule, tmp_path, torch.device("cpu"))
    pictures = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8))
    before = {name: weight.detach().clone() for name, weight in net.named_parameters()}
    fitting._train_epoch([(pictures, torch.arange(4) % 2)] * 2, silent)
    rates = [group["lr"].item() for group in fitting.optimiser.param_groups]
    np.testing.assert_allclose(np.divide(rates[1:], rates[:-1]), 0.5, rtol=1e-5)
    moved = {name: float((weight.detach() - before[name]).abs().mean()) for name, weight in net.named_parameters()}
    assert moved["backbone.blocks.11.mlp.fc1.weight"] > 20 * moved["backbone.blocks.2.mlp.fc1.weight"] > 0


def test_a_decay_of_the_rate_is_refused_for_networks_without_blocks(manifest: pd.DataFrame, tmp_path: Path) -> None:
    detector = Cnn(backbone="resnet10t", pretrained=False, layer_decay=0.8)
    with pytest.raises(DetectorError, match="leave out layer_decay: resnet10t has no"):
        detector.fit(manifest, seed=0, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []  # refused before any picture is read


def test_transformers_of_other_classes_keep_their_own_arguments() -> None:
    assert isinstance(make_backbone("vit_relpos_small_patch16_224"), torch.nn.Module)  # it has no `dynamic_img_size`


def test_the_residual_branch_adds_to_the_logit_and_to_its_map() -> None:
    detector = Cnn(backbone="resnet10t", pretrained=False, size=64, residual=True)
    with seeded(0):  # with some initial weights, the branch adds less than the tolerance below
        net = detector._build().eval()
    faces = torch.from_numpy(np.stack([draw_picture(i, size=64) for i in range(3)]))
    with torch.no_grad():
        before = net(faces)
        net.branch.last.weight.normal_(generator=torch.Generator().manual_seed(0))
        after = net(faces)
        assert not torch.allclose(before, after, atol=1e-3)
        assert torch.allclose(net.maps(faces).mean((1, 2)), after, atol=1e-4)
        flat = torch.full((1, 64, 64, 3), 90, dtype=torch.uint8)  # no residual: the same at every place but the edge
        inner = net.branch(net.scale(flat))[0, 4:-4, 4:-4]
        assert torch.allclose(inner, inner[0, 0].expand_as(inner), atol=1e-4)


def test_batches_are_prepared_after_opencv_used_threads() -> None:
    """A forked process waits for ever for OpenCV's threads, which it does not have."""
    code = """
import cv2, numpy as np
from detector.learning.batches import prepared_ahead

class Blurred:
    def __getitem__(self, step):
        return cv2.GaussianBlur(np.full((600, 600, 3), step, np.uint8), (0, 0), 3), np.zeros(1, np.float32)

cv2.setNumThreads(2)
cv2.GaussianBlur(np.zeros((2000, 2000, 3), np.uint8), (0, 0), 3)
print([int(faces.max()) for faces, _ in prepared_ahead(Blurred(), range(3, 8), processes=2)], cv2.getNumThreads())
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert run.stdout.split("\n")[-2] == "[3, 4, 5, 6, 7] 2"


def test_the_torch_network_has_the_logits_of_the_exported_one_and_an_attack_changes_them(tmp_path: Path) -> None:
    """White-box: a change of two grey levels moves every logit of a network towards the other class."""
    arguments = {"backbone": "resnet10t", "size": 64}
    with seeded(0):
        net = Cnn(**arguments, pretrained=False)._build().eval()
        net.backbone.get_classifier().weight.data.normal_(0, 0.5)
    write_checkpoint(tmp_path, state_to_numpy(net), {"detector": "cnn", "arguments": arguments})
    export(net, 64, tmp_path)
    net, session = Cnn(**arguments).network(tmp_path), Session(tmp_path)
    faces, labels = np.stack([draw_picture(i, size=64) for i in range(2)]), np.array([0, 1])
    before = score_faces(net, faces)
    assert np.allclose(before, session.logits(faces), atol=1e-3)
    changed = attack(net, faces, labels, radius=2, steps=2)
    assert np.abs(changed.astype(int) - faces).max() == 2
    after = session.logits(changed)
    assert after[0] > before[0] + 0.02
    assert after[1] < before[1] - 0.02


def test_adversarial_training_shows_harder_pictures(tmp_path: Path) -> None:
    """After one step from equal weights, the loss on changed pictures was higher, so the steps differ."""
    losses = {}
    for radius in (0.0, 4.0):
        torch.manual_seed(0)
        schedule = Schedule(1, 0, 3, 8, 1e-2, 0.0, 20.0, adversarial=radius)
        net = torch.nn.Sequential(torch.nn.Flatten(), Centred(), torch.nn.Linear(192, 1), torch.nn.Flatten(0))
        fitting = Fitting(net, 8, schedule, tmp_path / str(radius), torch.device("cpu"))
        pictures = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), np.uint8))
        batch = pictures, torch.arange(8) % 2
        losses[radius] = fitting._train_epoch([batch] * 3, silent)
    assert losses[4.0] > losses[0.0]


class Centred(torch.nn.Module):
    """Scales pixels to -1..1."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.float() / 127.5 - 1


def test_a_large_transformer_is_kept_in_8_bits_and_what_is_small_as_it_is(tmp_path: Path) -> None:
    net = Cnn(backbone="vit_tiny_patch16_224", pretrained=False, size=64)._build()
    export(net, 64, tmp_path)
    bits = {tensor.name: tensor.data_type for tensor in onnx.load(str(tmp_path / MODEL)).graph.initializer}
    assert sum(kind == TensorProto.INT8 for name, kind in bits.items() if name.endswith("_quantized")) == 3 * 12
    assert TensorProto.FLOAT in bits.values()
    small = Cnn(backbone="vit_tiny_patch16_224", pretrained=False, size=64, depth="2")._build()
    export(small, 64, tmp_path)
    assert TensorProto.INT8 not in {t.data_type for t in onnx.load(str(tmp_path / MODEL)).graph.initializer}


def test_a_large_network_is_compressed_and_gives_the_same_logits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with seeded(0):
        net: Any = Cnn(backbone="vit_tiny_patch16_224", pretrained=False, size=64, depth="2")._build().eval()
    net.backbone.get_classifier().weight.data.normal_(0, 0.1, generator=torch.Generator().manual_seed(0))
    faces = np.stack([draw_picture(i, size=64) for i in range(6)])
    export(net, 64, tmp_path)
    before, size = Session(tmp_path).logits(faces), (tmp_path / MODEL).stat().st_size
    monkeypatch.setattr(checkpoint, "COMPRESSED_ABOVE", size - 1)
    export(net, 64, tmp_path)
    assert not (tmp_path / MODEL).exists()
    assert (tmp_path / COMPRESSED).stat().st_size < 0.95 * size
    assert np.array_equal(Session(tmp_path).logits(faces), before)
    monkeypatch.undo()
    export(net, 64, tmp_path)
    assert not (tmp_path / COMPRESSED).exists()


def test_smoothing_evens_out_the_inputs_of_matrices_and_changes_no_logit() -> None:
    with seeded(0):
        net: Any = Cnn(backbone="vit_tiny_patch16_224", pretrained=False, size=64, depth="2")._build().eval()
    backbone = net.backbone
    with torch.no_grad():
        backbone.get_classifier().weight.normal_(generator=torch.Generator().manual_seed(0))
        backbone.blocks[1].norm2.weight[7] = 60  # one channel is far larger than the others
        backbone.blocks[1].mlp.fc1.weight[9] *= 60
        faces = np.stack([draw_picture(i, size=64) for i in range(4)])
        before = net(torch.from_numpy(faces))

        def largest_inputs(matrix: torch.nn.Module) -> torch.Tensor:
            found = []
            hook = matrix.register_forward_pre_hook(lambda _, given: found.append(given[0]))
            net(torch.from_numpy(faces))
            hook.remove()
            return torch.cat(found).abs().flatten(0, -2).amax(0)

        matrices = backbone.blocks[1].mlp.fc1, backbone.blocks[1].mlp.fc2
        uneven = [largest_inputs(matrix) for matrix in matrices]
        smooth(net, faces)
        even = [largest_inputs(matrix) for matrix in matrices]
        assert torch.allclose(net(torch.from_numpy(faces)), before, atol=1e-3)
    for first, then in zip(uneven, even, strict=True):
        assert first.max() / first.median() > 4 * then.max() / then.median()


def test_the_patches_of_a_transformer_are_not_kept_in_8_bits(tmp_path: Path) -> None:
    net = Cnn(backbone="vit_tiny_patch16_224", pretrained=False, size=64, depth="2")._build()
    export(net, 64, tmp_path, np.stack([draw_picture(i, size=64) for i in range(4)]))
    graph = onnx.load(str(tmp_path / MODEL)).graph
    (patches,) = (node for node in graph.node if node.op_type == "Conv")
    rounded = {name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    assert "patch_embed" in patches.name
    assert not rounded.intersection(patches.input)


def test_convolutions_are_kept_in_8_bits_if_faces_show_their_range(tmp_path: Path) -> None:
    with seeded(0):
        net = Cnn(backbone="tf_efficientnet_lite0", pretrained=False, size=64)._build().eval()
    with torch.no_grad():
        net.backbone.get_classifier().weight.normal_(0, 0.1, generator=torch.Generator().manual_seed(0))
    faces = np.stack([draw_picture(i, size=64) for i in range(8)])
    export(net, 64, tmp_path)
    before, size = Session(tmp_path).logits(faces), (tmp_path / MODEL).stat().st_size
    export(net, 64, tmp_path, faces)
    after = Session(tmp_path).logits(faces)
    assert (tmp_path / MODEL).stat().st_size < 0.35 * size
    assert 0 < np.abs(after - before).max() < 0.5 * np.ptp(before)
    assert np.corrcoef(before, after)[0, 1] > 0.95


def test_an_export_that_differs_from_torch_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_export, "PARITY", -1.0)  # no difference is small enough
    with pytest.raises(CheckpointError, match="it was not kept"):
        export(Cnn("resnet10t", pretrained=False)._build(), 64, tmp_path)
    assert not list(tmp_path.iterdir())
