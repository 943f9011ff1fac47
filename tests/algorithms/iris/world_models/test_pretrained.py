import json
from pathlib import Path

import pytest
import torch
from algorithms.iris.world_models.tiny_models import SIZES, make, tiny
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from rlsys.algorithms.iris.world_models.make import make_world_model
from rlsys.algorithms.iris.world_models.pretrained import load_gpt2
from rlsys.algorithms.iris.world_models.transformer import Trunk
from rlsys.errors import ConfigError

WIDTH, LAYERS, HEADS = 16, 2, 2


def gpt2(prefix: str = "transformer.", num_layers: int = LAYERS, width: int = WIDTH) -> dict[str, Tensor]:
    """A GPT-2 as Hugging Face stores one: dense layers inputs first, and much that is not for us."""
    generator = torch.Generator().manual_seed(5)
    shapes = {"wte.weight": (50, width), "wpe.weight": (9, width), "ln_f.weight": (width,), "ln_f.bias": (width,)}
    for layer in range(num_layers):
        dense = {"attn.c_attn": 3 * width, "attn.c_proj": width, "mlp.c_fc": 4 * width, "mlp.c_proj": width}
        for name, num_out in dense.items():
            num_in = 4 * width if name == "mlp.c_proj" else width
            shapes[f"h.{layer}.{name}.weight"] = (num_in, num_out)
            shapes[f"h.{layer}.{name}.bias"] = (num_out,)
        for name in ("ln_1", "ln_2"):
            shapes |= {f"h.{layer}.{name}.weight": (width,), f"h.{layer}.{name}.bias": (width,)}
        shapes[f"h.{layer}.attn.bias"] = (1, 1, 9, 9)
    return {prefix + name: torch.randn(shape, generator=generator) * 0.3 for name, shape in shapes.items()}


def trunk() -> Trunk:
    return Trunk(tiny(layers=LAYERS, width=WIDTH, heads=HEADS, gelu="tanh"))


def written_out(x: Tensor, weights: dict[str, Tensor]) -> Tensor:
    """GPT-2's blocks, on its own weights: x W + b."""
    length = x.shape[0]
    for layer in range(LAYERS):
        own = {
            name.removeprefix(f"h.{layer}."): part for name, part in weights.items() if name.startswith(f"h.{layer}.")
        }
        y = functional.layer_norm(x, (WIDTH,), own["ln_1.weight"], own["ln_1.bias"])
        q, k, v = (y @ own["attn.c_attn.weight"] + own["attn.c_attn.bias"]).split(WIDTH, dim=-1)
        seen = []
        for head in range(HEADS):
            part = slice(head * WIDTH // HEADS, (head + 1) * WIDTH // HEADS)
            scores = q[:, part] @ k[:, part].T / (WIDTH // HEADS) ** 0.5
            later = torch.ones(length, length).triu(1).bool()
            seen.append(torch.softmax(scores.masked_fill(later, -torch.inf), -1) @ v[:, part])
        x = x + torch.cat(seen, -1) @ own["attn.c_proj.weight"] + own["attn.c_proj.bias"]
        y = functional.layer_norm(x, (WIDTH,), own["ln_2.weight"], own["ln_2.bias"])
        inner = functional.gelu(y @ own["mlp.c_fc.weight"] + own["mlp.c_fc.bias"], approximate="tanh")
        x = x + inner @ own["mlp.c_proj.weight"] + own["mlp.c_proj.bias"]
    return functional.layer_norm(x, (WIDTH,), weights["ln_f.weight"], weights["ln_f.bias"])


def save(folder: Path, tensors: dict[str, Tensor], kind: str) -> None:
    if kind == "safetensors":
        save_file(tensors, folder / "model.safetensors")
    elif kind == "bin":
        torch.save(tensors, folder / "pytorch_model.bin")
    else:
        halves = {"a.safetensors": list(tensors)[::2], "b.safetensors": list(tensors)[1::2]}
        for file, names in halves.items():
            save_file({name: tensors[name] for name in names}, folder / file)
        index = {"weight_map": {name: file for file, names in halves.items() for name in names}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


@pytest.mark.parametrize("kind", ["safetensors", "bin", "parts"])
@pytest.mark.parametrize("prefix", ["transformer.", ""])
def test_blocks_compute_what_gpt2_does(tmp_path: Path, kind: str, prefix: str) -> None:
    save(tmp_path, gpt2(prefix), kind)
    loaded = trunk().eval()
    load_gpt2(loaded, tmp_path)
    x = torch.randn(1, 6, WIDTH)
    out = loaded(x, lambda _, q, k, v: functional.scaled_dot_product_attention(q, k, v, is_causal=True))
    torch.testing.assert_close(out[0], written_out(x[0], gpt2(prefix="")), atol=1e-5, rtol=1e-5)


def test_a_model_begins_with_it_and_frozen_keeps_it(tmp_path: Path) -> None:
    save(tmp_path, gpt2(), "safetensors")
    config = tiny(layers=LAYERS, width=WIDTH, heads=HEADS, pretrained=str(tmp_path), frozen=True)
    trained = dict(make_world_model(config, SIZES).named_parameters())
    found = trained["network.trunk.h.1.mlp.c_fc.weight"]
    torch.testing.assert_close(found, gpt2()["transformer.h.1.mlp.c_fc.weight"].T)
    assert not found.requires_grad and trained["network.trunk.h.1.ln_1.weight"].requires_grad


def test_fewer_layers_are_the_first(tmp_path: Path) -> None:
    save(tmp_path, gpt2(num_layers=3), "safetensors")
    loaded = trunk()
    load_gpt2(loaded, tmp_path)
    torch.testing.assert_close(loaded.h[1].attn.c_attn.bias, gpt2(num_layers=3)["transformer.h.1.attn.c_attn.bias"])


def test_what_does_not_fit_is_said_by_name_and_shape(tmp_path: Path) -> None:
    save(tmp_path, gpt2(num_layers=1, width=8), "safetensors")
    with pytest.raises(
        ConfigError, match=r"h\.0\.ln_1\.weight is \[8\] rather than \[16\].* and \d+ more.* layers and width"
    ):
        load_gpt2(trunk(), tmp_path)
    complete = gpt2()
    del complete["transformer.h.1.mlp.c_proj.bias"]
    save(tmp_path, complete, "safetensors")
    with pytest.raises(ConfigError, match=r"does not fit: it lacks h\.1\.mlp\.c_proj\.bias\."):
        load_gpt2(trunk(), tmp_path)


def test_another_number_of_heads_is_said(tmp_path: Path) -> None:
    save(tmp_path, gpt2(), "safetensors")
    (tmp_path / "config.json").write_text('{"n_head": 4}', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"heads = 2, and .* has a GPT-2 of 4"):
        load_gpt2(trunk(), tmp_path)


def test_folders_without_one_and_damaged_files_are_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no model\.safetensors or pytorch_model\.bin"):
        load_gpt2(trunk(), tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"no")
    with pytest.raises(ConfigError, match=r"pytorch_model.bin' is no file of weights"):
        load_gpt2(trunk(), tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no")
    with pytest.raises(ConfigError, match=r"model.safetensors' is no file of weights"):
        load_gpt2(trunk(), tmp_path)
    with pytest.raises(ConfigError, match=r"nowhere' has no"):
        make("transformer", pretrained=str(tmp_path / "nowhere"))
