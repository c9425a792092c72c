"""The rows of embedders with weights. Their networks, and with them torch, are imported when one is loaded."""

from memdetect.embedders.embedder import Embedder, Row, Source


def _scenes(row: Row, source: Source) -> Embedder:
    from memdetect.embedders import scenes

    return scenes.load(row, source)


SCENES = Row(
    name="scenes",
    dim=128,
    licence="Apache-2.0",
    about="ships with a model of the lab: trained on its scenes against generation damage; placement counts",
    preprocessing={"rgb": "alpha on white", "resize": [64, 64, "box"], "range": [-1, 1]},
    load=_scenes,
)
