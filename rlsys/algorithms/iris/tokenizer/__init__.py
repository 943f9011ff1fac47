"""From frames to tokens and back: a discrete autoencoder (VQ-VAE), its losses, and how it begins pretrained."""
