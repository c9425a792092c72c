"""`memdetect lab relu-dae`: the paper's theory, trained and compared with its closed forms."""

from typing import Annotated

import typer

from memdetect.cli.options import TRAIN_STEPS, Out
from memdetect.cli.terminal import hush, say, write
from memdetect.cli.unfold import unfolded
from memdetect.inputs.options import Seed

Full = Annotated[bool, typer.Option("--full", help="Use the paper's settings: hours on a CPU, not minutes.")]
Transition = Annotated[
    bool,
    typer.Option("--transition/--no-transition", help="Sweep over numbers of samples and hidden units of the mixture."),
]


@unfolded
def relu_dae(
    out: Out,
    regime: Annotated[str, typer.Option("--regime", help="Regime: memorize, generalize, hybrid or all.")] = "all",
    data: Annotated[
        str,
        typer.Option(
            "--data", help="tiles (bundled clip art), pictures (fetched ones), mixture, or a folder of images."
        ),
    ] = "tiles",
    full: Full = False,
    seed: Seed = 1,
    noise_level: Annotated[
        float | None, typer.Option("--noise-level", min=0, help="Noise level, instead of the preset's 0.2.")
    ] = None,
    optimizer: Annotated[
        str | None, typer.Option("--optimizer", help="Optimizer, instead of the preset's: adam, adamw, rmsprop or sgd.")
    ] = None,
    train_steps: Annotated[int | None, TRAIN_STEPS] = None,
    sampling: Annotated[
        bool,
        typer.Option("--sampling/--no-sampling", help="Train the time-conditioned network too, and draw samples."),
    ] = True,
    transition: Transition = True,
) -> None:
    """Train the paper's two-layer ReLU autoencoder and compare it with its closed forms.

    The folder --out gets the numbers (JSON) and the figures (PNG) drawn from them.
    """
    hush()
    from memdetect.lab.theory.run import REGIMES, Options, reproduce

    regimes = REGIMES if regime == "all" else (regime,)
    wanted = Options(regimes, data, full, seed, noise_level, optimizer, train_steps, sampling, transition)
    for line in reproduce(out, wanted, say):
        write(f"{line}\n")
