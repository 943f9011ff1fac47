"""EfficientZero as options of MuZero: Ye et al. 2021, https://arxiv.org/abs/2111.00210.

And of its second version what does not belong to the search: Wang et al. 2024, https://arxiv.org/abs/2403.00564.
"""
