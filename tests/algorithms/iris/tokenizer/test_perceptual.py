"""LPIPS with random weights, against its definition with torch's own layers; and the errors."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from rlsys.algorithms.iris.tokenizer.config import TokenizerConfig
from rlsys.algorithms.iris.tokenizer.losses import TokenizerModel
from rlsys.algorithms.iris.tokenizer.perceptual import expected_shapes, load_lpips
from rlsys.errors import ConfigError

SHAPE = (3, 16, 24)
LAYERS = [64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512]
"""Channels of VGG16's convolutions; 0 is a pooling."""
LOOKED_AT = (3, 8, 15, 22, 29)
"""Places of relu1_2, 2_2, 3_3, 4_3 and 5_3."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of VGG16, with a classifier as torchvision has one, of LPIPS's layers, and of both."""
    torch.manual_seed(0)
    layers, before = [], 3
    for num_channels in LAYERS:
        layers += [nn.Conv2d(before, num_channels, 3, padding=1), nn.ReLU()] if num_channels else [nn.MaxPool2d(2)]
        before = num_channels or before
    vgg = {f"features.{name}": tensor for name, tensor in nn.Sequential(*layers).state_dict().items()}
    heads = {
        f"lin{stage}.model.1.weight": torch.rand(1, size, 1, 1) for stage, size in enumerate((64, 128, 256, 512, 512))
    }
    folder = tmp_path_factory.mktemp("weights")
    torch.save(vgg | {"classifier.0.weight": torch.zeros(2, 2)}, folder / "vgg16.pth")
    save_file(heads, folder / "lpips.safetensors")
    torch.save(vgg | heads, folder / "both.pth")
    return {path.stem: path for path in folder.iterdir()}


def config(**paths: Path) -> TokenizerConfig:
    small = {"vocabulary_size": 8, "embedding_size": 4, "z_channels": 4, "channels": 4, "channel_multipliers": [1, 1]}
    return TokenizerConfig.model_validate(
        {**small, "perceptual": "vgg", **{name: str(path) for name, path in paths.items()}}
    )


def plainly(tensors: dict[str, Tensor], one: Tensor, other: Tensor) -> Tensor:
    """Returns LPIPS layer by layer, place by place in torchvision's counting."""
    total, place = torch.zeros(len(one)), 0
    shift = torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1)
    x, y = (one - shift) / scale, (other - shift) / scale
    for num_channels in LAYERS:
        if not num_channels:
            x, y, place = nn.MaxPool2d(2)(x), nn.MaxPool2d(2)(y), place + 1
            continue
        layer = nn.Conv2d(x.shape[1], num_channels, 3, padding=1)
        layer.load_state_dict({kind: tensors[f"features.{place}.{kind}"] for kind in ("weight", "bias")})
        x, y, place = layer(x).relu(), layer(y).relu(), place + 2
        if place - 1 in LOOKED_AT:
            head = tensors[f"lin{LOOKED_AT.index(place - 1)}.model.1.weight"]
            units = [z / ((z**2).sum(dim=1, keepdim=True).sqrt() + 1e-10) for z in (x, y)]
            total = total + ((units[0] - units[1]) ** 2 * head).sum(dim=1).mean(dim=(1, 2))
    return total.mean()


@pytest.mark.parametrize("apart", [True, False])
def test_the_distance_is_the_papers(apart: bool, files: dict[str, Path]) -> None:
    paths = {"vgg_path": files["vgg16"], "lpips_path": files["lpips"]} if apart else {"vgg_path": files["both"]}
    lpips = load_lpips(config(**paths), SHAPE)
    assert lpips is not None
    one, other = torch.rand(2, 2, *SHAPE) * 2 - 1
    with torch.no_grad():
        expected = plainly(torch.load(files["both"], weights_only=True), one, other)
    torch.testing.assert_close(lpips(one, other), expected)
    assert lpips(one, one) == 0.0
    grey = one[:, :1]
    torch.testing.assert_close(lpips(grey, other), lpips(grey.repeat(1, 3, 1, 1), other))


def test_reconstructions_learn_from_it_and_it_learns_nothing(files: dict[str, Path]) -> None:
    settings = config(vgg_path=files["both"]).model_copy(update={"perceptual_weight": 0.5})
    model = TokenizerModel(settings, SHAPE)
    losses = model(torch.rand(1, *SHAPE))
    known = losses.parts["reconstruction_loss"] + losses.parts["commitment_loss"]
    torch.testing.assert_close(losses.total, known + 0.5 * losses.parts["perceptual_loss"])
    losses.parts["perceptual_loss"].backward()
    gradient = model.tokenizer.decoder.out.weight.grad
    assert gradient is not None and gradient.isfinite().all() and gradient.abs().sum() > 0
    assert not any("perceptual" in name for name in [*model.state_dict(), *dict(model.named_parameters())])


def test_without_it_no_file_is_read() -> None:
    assert load_lpips(TokenizerConfig(), SHAPE) is None


def test_shapes_are_those_of_vgg16() -> None:
    shapes = expected_shapes()
    assert len(shapes) == 2 * 13 + 5
    assert shapes["features.0.weight"] == (64, 3, 3, 3)
    assert shapes["features.28.weight"] == (512, 512, 3, 3)
    assert shapes["lin4.model.1.weight"] == (1, 512, 1, 1)


def test_missing_and_unfitting_files_are_refused(files: dict[str, Path], tmp_path: Path) -> None:
    def refused(settings: TokenizerConfig, shape: tuple[int, int, int] = SHAPE) -> str:
        with pytest.raises(ConfigError) as raised:
            load_lpips(settings, shape)
        assert "\n" not in str(raised.value)
        return str(raised.value)

    assert "iris.tokenizer.vgg_path = 'nowhere.pth' cannot be read" in refused(config(vgg_path=Path("nowhere.pth")))
    said = refused(config(vgg_path=files["vgg16"]))
    assert "it lacks lin0.model.1.weight, lin1.model.1.weight" in said and "iris.tokenizer.lpips_path" in said
    said = refused(config(vgg_path=files["vgg16"], lpips_path=files["vgg16"]))
    assert f"iris.tokenizer.lpips_path = '{files['vgg16']}' does not fit: it lacks lin0.model.1.weight" in said
    shapes = {name: (*shape[:1], 1, 1, 1) if len(shape) == 4 else shape for name, shape in expected_shapes().items()}
    torch.save({name: torch.zeros(shape) for name, shape in shapes.items()}, tmp_path / "other.pth")
    assert "features.0.weight is [64, 1, 1, 1] rather than [64, 3, 3, 3]" in refused(
        config(vgg_path=tmp_path / "other.pth")
    )
    assert "VGG16 sees 1 or 3 channels of at least 16 × 16" in refused(config(vgg_path=files["both"]), (4, 16, 16))
    assert "perceptual=none" in refused(config(vgg_path=files["both"]), (3, 8, 16))
