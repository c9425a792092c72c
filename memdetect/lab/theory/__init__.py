"""The paper's theory as a test bench: a two-layer ReLU denoising autoencoder, its closed forms and its training."""
