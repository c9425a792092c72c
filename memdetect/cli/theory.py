"""`memdetect lab relu-dae`: the paper's theory, trained and compared with its closed forms."""

from pathlib import Path
from typing import Annotated

import typer

from memdetect.cli.output import hush, say, write


def relu_dae(
    out: Annotated[Path, typer.Option(help="Folder for the numbers (JSON) and the figures (PNG) drawn from them.")],
    regime: Annotated[str, typer.Option(help="memorize, generalize, hybrid or all.")] = "all",
    data: Annotated[
        str, typer.Option(help="tiles (bundled clip art), pictures (fetched ones), mixture, or a folder of images.")
    ] = "tiles",
    full: Annotated[bool, typer.Option("--full", help="The paper's settings: hours on a CPU, not minutes.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of data, weights and noise.")] = 1,
    sigma: Annotated[float | None, typer.Option(min=0, help="Noise level instead of the preset's 0.2.")] = None,
    optimizer: Annotated[str | None, typer.Option(help="adam, adamw, rmsprop or sgd instead of the preset's.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of every training, for a quick look.")] = None,
    sampling: Annotated[bool, typer.Option(help="Train the time-conditioned network too and draw samples.")] = True,
    transition: Annotated[bool, typer.Option(help="Sweep over samples and hidden units of the mixture.")] = True,
) -> None:
    """Train the paper's two-layer ReLU autoencoder and compare it with its closed forms; figures and numbers."""
    hush()
    from memdetect.lab.theory.run import REGIMES, Options, reproduce

    regimes = REGIMES if regime == "all" else (regime,)
    wanted = Options(regimes, data, full, seed, sigma, optimizer, steps, sampling, transition)
    for line in reproduce(out, wanted, say):
        write(f"{line}\n")
