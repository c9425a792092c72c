"""Small pipelines, autoencoders and embedders, trained on a world."""
