"""`memdetect models` and `memdetect layers`: what can be scanned, and where it can be probed."""

from memdetect.cli.options import ModelName
from memdetect.cli.terminal import hush, write
from memdetect.cli.unfold import unfolded
from memdetect.inputs.options import Loading


def models_command() -> None:
    """List the bundled models, and the cards of models whose weights are on a hub."""
    from memdetect.adapters.cards import read_card
    from memdetect.inputs import bundled

    for name in bundled.models():
        card = read_card(bundled.model_folder(name))
        write(f"{name}\t{card.licence}\t{card.about}\n")


@unfolded
def layers_command(model: ModelName) -> None:
    """List the layers of a model that can be probed; aliases first."""
    hush()
    from memdetect.adapters import list_points, load

    loaded = load(model, Loading(device="cpu"))
    for alias, pattern in loaded.aliases.items():
        write(f"{alias}\t= {pattern}\n")
    for point in list_points(loaded.denoiser).values():
        write(f"{point.name}\t{point.what}\n")
