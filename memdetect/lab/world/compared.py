"""Which groups of a world are compared with which, and which of them make its dose-response curve."""

CONTROLS = {
    "matched": "control",
    "duplicated": "control",
    "verbatim": "verbatim-control",
    "template": "template-control",
}
PAIRS = (
    ("matched", "control"),
    ("matched", "seen"),
    ("matched", "held-out"),
    ("verbatim", "verbatim-control"),
    ("template", "template-control"),
)
POOL = ("control", "ladder", "matched")  # one pool of scenes; how often each was shown was drawn by lot
TEST_PARTS = ("reporting", "report")  # nothing was chosen on them
