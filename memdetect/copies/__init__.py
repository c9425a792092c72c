"""Is this image a copy of that one? Embedders, an index of training images, and the pixels of what is near."""
