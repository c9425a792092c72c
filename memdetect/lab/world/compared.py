"""Which groups of a world are compared with which, and which of them make its dose-response curve."""

CONTROLS = {
    "duplicated": "control",
    "verbatim": "verbatim-control",
    "template": "template-control",
}
PAIRS = (
    ("duplicated", "control"),
    ("duplicated", "seen"),
    ("duplicated", "unseen"),
    ("verbatim", "verbatim-control"),
    ("template", "template-control"),
)
POOL = ("control", "dose-response", "duplicated")  # one pool of scenes; how often each was shown was drawn at random
TEST_PARTS = ("test",)  # nothing was chosen on them
