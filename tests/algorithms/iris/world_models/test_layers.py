import torch
from torch import nn

from rlsys.algorithms.iris.world_models.layers import Snapshot


def module() -> nn.Sequential:
    return nn.Sequential(nn.Embedding(3, 4), nn.Dropout(0.5), nn.LayerNorm(4), nn.Linear(4, 2))


def test_a_snapshot_rounds_dense_layers_and_shares_the_rest() -> None:
    original = module()
    copied = Snapshot(original, torch.bfloat16).module
    assert copied[0].weight is original[0].weight and copied[2].weight is original[2].weight
    assert copied[3].weight.dtype == torch.bfloat16 and original[3].weight.dtype == torch.float32
    assert original.training and not copied.training


def test_it_follows_weights_in_the_same_memory() -> None:
    original = module()
    snapshot = Snapshot(original, torch.bfloat16)
    where = snapshot.module[3].weight.data_ptr()
    nn.init.ones_(original[3].weight)
    assert snapshot.refresh()
    assert (snapshot.module[3].weight == 1.0).all() and snapshot.module[3].weight.data_ptr() == where


def test_it_notices_other_weights() -> None:
    original = module()
    snapshot = Snapshot(original, torch.float32)
    assert snapshot.refresh()
    original.load_state_dict({name: part.clone() for name, part in original.state_dict().items()}, assign=True)
    assert not snapshot.refresh()
