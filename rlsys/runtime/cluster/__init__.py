"""The Ray cluster: joined or started, its machines, who goes where, what fits, what is taken away."""
