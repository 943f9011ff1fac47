"""Which rows of an unroll count."""

from support.unroll_rows import make_rows

from rlsys.ops.unroll import continues, row_masks


def test_masks_follow_the_ends_of_episodes() -> None:
    rows = make_rows(50, 9, seed=7)
    mask_BT, first_BT = row_masks(rows["terminated_BT"], rows["truncated_BT"])
    continues_B = continues(rows["terminated_BT"], rows["truncated_BT"])
    for b in range(50):
        first, bootstrap = False, False
        for t in range(9):
            assert mask_BT[b, t].item() is not bootstrap
            assert first_BT[b, t].item() is first
            terminated, truncated = bool(rows["terminated_BT"][b, t]), bool(rows["truncated_BT"][b, t])
            first, bootstrap = terminated or bootstrap, truncated
        assert first_BT[b, 9].item() is first
        assert continues_B[b].item() is not (first or bootstrap)
