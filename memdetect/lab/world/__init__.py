"""Labelled training sets in which it is known how often each image is shown, and what is made of them."""
