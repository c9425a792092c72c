"""A scan that is only planned: what it can show and what it takes, from the card and the clean scores alone."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from memdetect import __version__
from memdetect.adapters import admitted
from memdetect.adapters.cards import Card, read_card
from memdetect.adapters.places import near_name, place_of
from memdetect.copies.index import read_manifest
from memdetect.copies.index.write import LEVEL
from memdetect.detectors import find
from memdetect.detectors.choice import usual
from memdetect.detectors.detector import Detector
from memdetect.inputs import bundled
from memdetect.inputs.prompts import Request, Requests
from memdetect.inputs.wording import family_key, worded
from memdetect.judging.calibration import Calibration, Item
from memdetect.judging.calibration.banked import read_with_bank
from memdetect.judging.forecast import clean_count, forecast, forecast_lines, with_obstacles
from memdetect.judging.telling import kinds_in
from memdetect.probing.checks import check_seeds
from memdetect.runs.header import Header
from memdetect.runs.plan import Plan, Settings
from memdetect.scanning.base_scores import part_of_round, rounds_for
from memdetect.scanning.costs import Effort, cost_lines, levels_in
from memdetect.scanning.given_files import check_labels, check_options
from memdetect.scanning.planned_screen import planned_screen, screen_lines
from memdetect.scanning.planning import bar_of, index_facts, readings_of
from memdetect.scanning.prepare import INDEX, Options, deciding, searched_index


@dataclass(frozen=True, slots=True)
class Planned:
    """What a scan without its weights would be: settings, the card and clean scores of its model, and their folder.

    made: settings as they will be. detectors: those measured; deciding: those that decide. images: whether only images
    are given.
    """

    model: str
    options: Options
    folder: Path | None
    card: Card
    clean: Calibration | None
    made: Mapping[str, Any]
    deciding: Sequence[str]
    detectors: Sequence[Detector] = ()
    images: bool = False

    @property
    def tuned(self) -> bool:
        """Whether it is a fine-tune, of which neither clean scores nor an index ship."""
        return self.base is not None or bool(self.made.get("loras"))

    @property
    def base(self) -> Any:
        """What the model was fine-tuned from, if anything."""
        return self.options.base_of(self.model)


def dry_run_lines(requests: Requests, model: str, options: Options) -> Iterator[str]:
    """The plan in words; what is not told is taken from the card. No weights are opened.

    What a plan can show is worked out by `judge`, on an ideal run of the same items. Of an index only the manifest is
    read. Raises MemdetectError where a scan with these would.
    """
    check_labels(requests, model)
    planned = _planned(model, options, images=all(item.prompt is None for item in requests.items))
    folder, clean, made = planned.folder, planned.clean, planned.made
    items = requests.items
    yield (
        f"{model}: {made['num_seeds']} images a prompt, {made['steps']} steps, guidance {made['guidance_scale']:g}, "
        f"{_where(made)}"
    )
    named = [name for name in (model, planned.base) if isinstance(name, str) and place_of(name) is None]
    yield from (f"{name} is taken for a hub id; {hint.strip()}" for name in named if (hint := near_name(name)))
    yield _looked_up(planned)
    usual = rounds_for(len(items), scored=options.policy.asks_scores, deciding=len(planned.deciding))
    rounds = (options.judging.base_rounds or usual) if planned.base else 0
    if rounds:
        yield f"the base {planned.base} draws each prompt {rounds} times; its scores are the reference"
    if made.get("sigmas") and clean:
        yield "which timesteps these are only the weights tell: whether the clean scores hold them is not known"
    screen = planned_screen(requests, options, steps=made["steps"], num_seeds=made["num_seeds"])
    header = _header(requests, planned).model_copy(update={"screen": screen.screen if screen else None})
    reference = _of_base(header, requests, rounds, str(planned.base)) if rounds else clean
    families = len({family_key(item.meta, item.prompt) for item in items})
    policy = options.policy
    found = forecast(len(items), families, _clean_count(reference, header, items), policy)
    known = screen.recall if screen else None
    yield from forecast_lines(with_obstacles(found, header, items, reference, known), policy, based=bool(rounds))
    drawn = sum(item.prompt is not None for item in items)
    given, each = len(items) - drawn, made["num_seeds"]
    if screen:
        yield from screen_lines(screen, made["guidance_scale"], clean, folder)
        drawn = screen.count
    yield from cost_lines(drawn * (1 + rounds) * each, given * each, _effort(planned), clean, folder)


def _effort(planned: Planned) -> Effort:
    """What is done for each image."""
    asked, made = planned.options, planned.made
    index = searched_index(planned.folder, asked.lookup, tuned=planned.tuned)
    looked_up = index is not None or bool(asked.lookup.search and asked.lookup.train_images)
    return Effort(
        planned.detectors,
        steps=made["steps"],
        guidance_scale=made["guidance_scale"],
        timesteps=len(made.get("sigmas") or made["timesteps"]),
        kept=asked.save_images or looked_up,
        levels=levels_in(planned.folder, made["steps"]),
    )


def _clean_count(reference: Calibration | None, header: Header, items: Sequence[Request]) -> int:
    """Clean prompts of the smallest kind that is scanned; 0 where none were kept of what decides."""
    if reference is not None and not set(header.plan.deciding) <= reference.scores.keys():
        return 0
    kinds = kinds_in(reference)
    told = kinds.tell([item.prompt for item in items if item.prompt and worded(item.prompt)]) if kinds else []
    present = {one.kind for one in told}
    deciding, banked = len(header.plan.deciding), bool(header.plan.bank)
    return clean_count(reference, deciding, banked=banked, present=present)


def _planned(model: str, options: Options, *, images: bool) -> Planned:
    folder = Path(model) if Path(model).is_dir() else bundled.model_folder(model)
    card = read_card(folder)
    if folder is not None and (folder / admitted.INDEX).is_file():
        admitted.check_model(model, folder)
    check_options(model, options)
    asked, sampling, probing = options.loading, options.sampling, options.probing
    wanted: dict[str, Any] = {
        "steps": sampling.steps,
        "guidance_scale": sampling.guidance_scale,
        "num_seeds": sampling.num_seeds,
        "call": dict(sampling.call) or None,
        "timesteps": probing.timesteps or None,
        "sigmas": probing.sigmas or None,
        "loras": asked.loras or None,
        "dtype": asked.dtype,
    }
    made = {key: getattr(card, key, None) if given is None else given for key, given in wanted.items()}
    planned = Planned(model, options, folder, card, None, made, (), images=images)
    shipped = folder / "calibration.json" if folder and not made["loras"] else None
    file = options.judging.calibration or shipped
    clean = read_with_bank(Path(file)) if file and planned.base is None else None
    asked_for = find(tuple(probing.detectors))
    detectors = asked_for or usual(int(made["num_seeds"] or 1), banked=bool(clean and clean.bank), images=images)
    check_seeds(detectors, int(made["num_seeds"] or 1))
    return replace(planned, clean=clean, detectors=detectors, deciding=deciding(card, options, detectors))


def _header(requests: Requests, planned: Planned) -> Header:
    """The header as the scan would write it; what only the weights tell is taken as the clean scores say."""
    index = _index_facts(planned)
    made = _plan(planned, index)
    return Header(
        memdetect=__version__,
        created="",
        model=planned.model,
        versions={},
        plan=made,
        planned=len(requests.items),
        index=index,
        **bar_of(planned.options.policy, made, requests.items, planned.clean),
    )


def _plan(planned: Planned, index: Mapping[str, Any]) -> Plan:
    """The plan as the scan would make it; what only the weights tell is taken as the clean scores say."""
    options, made, clean = planned.options, planned.made, planned.clean
    layers, times = _layers(planned), tuple(made.get("timesteps") or planned.card.timesteps)
    probed = any(d.of_images for d in planned.detectors)
    return Plan(
        **dict(_settings(planned)),
        inputs="",
        num_seeds=made["num_seeds"],
        seed=options.sampling.seed,
        detectors=tuple(d.name for d in planned.detectors),
        readings=readings_of(planned.detectors, layers, times),
        combine=tuple(planned.deciding),
        strata=options.probing.strata,
        by=options.probing.by,
        bank=clean.bank["digest"] if clean and clean.bank and any(d.banked for d in planned.detectors) else "",
        layers=layers if probed else (),
        timesteps=times if probed else (),
        index=index.get("digest", ""),
        top_k=index.get("top_k"),
        base=str(planned.base or ""),
    )


def _settings(planned: Planned) -> Settings:
    made, clean = planned.made, planned.clean
    unknown: dict[str, Any] = {"model": "", "adapter": "", "dtype": "", "scheduler": "", "size": (0, 0), "noise": ""}
    held = dict(clean.settings) if clean else unknown
    own = {key: wanted for key in ("call", "dtype") if (wanted := made.get(key)) not in (None, "", "auto")}
    return Settings(**{**held, **own, "steps": made["steps"], "guidance_scale": made["guidance_scale"]})


def _layers(planned: Planned) -> tuple[str, ...]:
    """The layers by name where the clean scores have them; as they were given, where only the weights tell."""
    given = tuple(planned.options.probing.layers or planned.card.layers)
    tables = list(planned.clean.scores.values()) if planned.clean else []
    held = list(dict.fromkeys(layer for table in tables for layer in table))
    found = tuple(name for name in held if any(fnmatchcase(name, glob) for glob in given))
    return found or given


def _index_facts(planned: Planned) -> dict[str, Any]:
    """What the header will say of the index; of one that the scan will build, what it is hoped to be."""
    asked = planned.options.lookup
    index = searched_index(planned.folder, asked, tuned=planned.tuned)
    if asked.search and asked.train_images:
        hoped = {"similarity": 0.5, "level": LEVEL, "recall": 1.0, "planted": 1, "part_limit": 0.5}
        return {"name": INDEX, "digest": "planned", "rows": 1, "embedder": "", "null_queries": 1, **hoped}
    return index_facts(index.name, read_manifest(index), asked.top_k) if index else {}


def _of_base(header: Header, requests: Requests, rounds: int, base: str) -> Calibration:
    """As many reference scores as a base will give; they are made up, since only their number counts here."""
    plan, items = header.plan, requests.items
    drawn = [f"planned-{i}#{k}" for i in range(len(items)) for k in range(rounds)]
    rows = [[float(i)] * plan.num_seeds for i in range(len(drawn))]
    tables = {name: _table(plan.readings[name].places, rows) for name in plan.detectors}
    zero = {f"planned-{i}": 0.0 for i in range(len(items))}
    return Calibration(
        settings=plan.settings,
        strata=plan.strata,
        provenance={"base": plan.base, "inputs": plan.inputs},
        base=base,
        offsets=dict.fromkeys(plan.detectors, zero),
        items=tuple(
            Item(
                id=name,
                family=name,
                part=part_of_round(i % rounds),
                stratum=_stratum(items[i // rounds].meta, plan.strata),
            )
            for i, name in enumerate(drawn)
        ),
        scores=tables,
    )


def _table(places: Sequence[tuple[str, str]], rows: list[list[float]]) -> dict[str, dict[str, list[list[float]]]]:
    found: dict[str, dict[str, list[list[float]]]] = {}
    for layer, timestep in places:
        found.setdefault(layer, {})[timestep] = rows
    return found


def _stratum(meta: Mapping[str, Any], strata: str) -> str:
    return str(meta.get(strata, "")) if strata else ""


def _where(made: Mapping[str, Any]) -> str:
    """Timesteps, or the sigmas that stand for them: which timesteps they are, only the loaded model knows."""
    name, values = ("sigma", made["sigmas"]) if made.get("sigmas") else ("t", made["timesteps"])
    return f"{name} = {', '.join(map(str, values))}"


def _looked_up(planned: Planned) -> str:
    """What outputs are looked up in."""
    asked = planned.options.lookup
    index = searched_index(planned.folder, asked, tuned=planned.tuned)
    if asked.search and asked.train_images:
        return f"looked up among the pictures of {asked.train_images}"
    if index is None:
        return "no index: outputs are not looked up among training images"
    manifest = read_manifest(index)
    return f"looked up among {manifest.count} training images (embedder {manifest.embedder.name})"
