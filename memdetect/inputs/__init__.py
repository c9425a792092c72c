"""What is to be examined: prompts, labels, images, folders of training pictures with captions."""
