"""A run: what it is made of, its folder, who leads it, how far it has come, how it goes on."""
