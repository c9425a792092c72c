"""Clean captions for a model that nobody has calibrated: common words in combinations that no page is likely to carry.

Four styles, for a detector may answer to the style of a caption as well as to memorization. No names of persons,
makers, places or works. Equal seeds give equal captions.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from memdetect.errors import MemdetectError
from memdetect.files import write_atomic


def _words(text: str) -> tuple[str, ...]:
    return tuple(" ".join(part.split()) for part in text.split(","))


THINGS = _words(
    """
    kettle, wardrobe, accordion, bicycle, lantern, rowing boat, typewriter, chess board, umbrella stand, weather
    vane, sewing machine, garden gate, telescope, rocking chair, mailbox, fountain pen, cuckoo clock, watering
    can, sledge, toaster, chandelier, wheelbarrow, record player, birdhouse, compass, tea trolley, cello, lawn
    mower, globe, trunk, barometer, ladder, hammock, music stand, camping stove, doll's house, spinning wheel,
    loom, anvil, metronome, bread bin, kite, lighthouse lamp, sun dial, picnic basket, harmonium, pram, filing
    cabinet, dentist's chair, tuba
    """
)
SHAPES = _words(
    """
    heron, walnut, snail, cathedral, artichoke, armadillo, thimble, octopus, pine cone, hedgehog, cloud, trout,
    pumpkin, beetle, pelican, acorn, seahorse, mushroom, camel, garlic bulb, badger, starfish, tortoise, pear,
    moth, rhinoceros, cauliflower, lobster, owl, iceberg, peacock, walrus, radish, swan, chameleon, honeycomb,
    hermit crab, radiator, sycamore leaf, dandelion
    """
)
STUFFS = _words(
    """
    brushed copper, sage green enamel, unglazed clay, birch plywood, faded denim, smoked glass, oxblood leather,
    knitted wool, corrugated card, powder blue steel, woven willow, chalk white plaster, cork, hammered tin,
    translucent resin, mustard velvet, charred oak, pale terrazzo, recycled paper pulp, turquoise felt
    """
)
FELLOWS = _words(
    """
    a stack of ledgers, nine paper boats, a sleeping greyhound, a row of lemon trees, two unlit candles, a spilled
    jar of buttons, a family of geese, an upturned rowing boat, a pile of turnips, seven mismatched spoons, a coil
    of blue rope, an empty bird cage, a patchwork quilt, three melting snowballs, a bucket of marbles, a folded
    deck chair, a bunch of rhubarb, an open suitcase of sand, a model railway, a string of drying peppers, a crate
    of oranges, an unfinished jigsaw, a wind-up mouse, a bowl of gravel, a bouquet of thistles, five clothes pegs,
    a broken mirror, a jar of fireflies, a wheel of cheese, a stuffed armchair
    """
)
PLACES = _words(
    """
    a lighthouse kitchen, an abandoned swimming bath, a railway tunnel, a snowed-in greenhouse, a harbour
    warehouse, a school gymnasium, a salt mine, a rooftop vineyard, a windmill loft, an airport chapel, a flooded
    library, a cable car, a barber's shop, a peat bog, a shipping container, an opera cloakroom, a chicken coop, a
    desert car park, a bakery cellar, a tidal causeway, a planetarium, an ice rink, a bell tower, a laundrette, a
    quarry, a ferry deck, a village bus shelter, a botanical museum, a bowling alley, an orchard in fog
    """
)
LIGHTS = _words(
    """
    soft rim light, low winter sun, overcast daylight, candle light, blue hour, harsh noon light, lamp light,
    backlit
    """
)
MEDIA = _words(
    """
    oil on linen, gouache, linocut, pencil drawing, low-poly render, watercolour, stop-motion still, long
    exposure, tilt-shift photograph, isometric illustration, charcoal sketch, screen print
    """
)
PALETTES = _words(
    """
    muted teal palette, ochre and slate, pastel colours, monochrome, warm earth tones, high contrast, faded film
    colours, primary colours
    """
)
SIZES = _words("14 cm, 1.2 L, size 3, 40 x 60 cm, 250 g, 2 m, 0.75 L, 18 inch")
STYLES = ("alt", "product", "plain", "artist")


@dataclass(frozen=True, slots=True)
class Idea:
    """What a caption speaks of; no two captions share thing, shape, fellow and place."""

    thing: str
    shape: str
    stuff: str
    fellow: str
    place: str


def ideas(rng: np.random.Generator, count: int) -> list[Idea]:
    """`count` ideas of which no two agree in thing, shape, fellow and place.

    Raises MemdetectError when more are asked for than the words give without crowding.
    """
    most = len(THINGS) * len(SHAPES) * len(FELLOWS) * len(PLACES) // 20
    if count > most:
        raise MemdetectError(f"{count} captions were asked for, the words give {most}; ask for fewer")
    found: dict[tuple[str, str, str, str], Idea] = {}
    while len(found) < count:
        thing, shape, stuff, fellow, place = (_pick(rng, w) for w in (THINGS, SHAPES, STUFFS, FELLOWS, PLACES))
        found.setdefault((thing, shape, fellow, place), Idea(thing, shape, stuff, fellow, place))
    return list(found.values())


def caption(rng: np.random.Generator, idea: Idea, style: str) -> str:
    """An idea in one of the four styles; wording, light, medium and size are drawn."""
    return {"alt": _alt, "product": _product, "plain": _plain, "artist": _artist}[style](rng, idea)


def _alt(rng: np.random.Generator, i: Idea) -> str:
    opening = _pick(rng, ("Photo of", "Close-up of", "View of", "Image shows", "Side view of"))
    ending = _pick(rng, ("", f", {_pick(rng, LIGHTS)}", " - stock image", f" (photo {int(rng.integers(2, 40))})"))
    return f"{opening} {_a(i.shape)}-shaped {i.thing} made of {i.stuff} next to {i.fellow} in {i.place}{ending}"


def _product(rng: np.random.Generator, i: Idea) -> str:
    thing, shape, stuff = i.thing.title(), i.shape.title(), i.stuff.title()
    motif = i.fellow.split(" ", 1)[1]
    ending = _pick(rng, (f"Set of {int(rng.integers(2, 7))}", _pick(rng, SIZES), "Gift Boxed", "Made to Order"))
    return f"{shape} {thing} in {stuff}, with a motif of {motif}, for {i.place} | {ending}"


def _plain(rng: np.random.Generator, i: Idea) -> str:
    verb = _pick(rng, ("stands beside", "lies next to", "leans against", "hangs above", "is parked behind"))
    return f"{_a(i.thing)} of {i.stuff} in the form of {_a(i.shape)} {verb} {i.fellow} in {i.place}"


def _artist(rng: np.random.Generator, i: Idea) -> str:
    tail = [_pick(rng, MEDIA), _pick(rng, LIGHTS), _pick(rng, PALETTES)]
    order = [tail[int(k)] for k in rng.permutation(3)][: int(rng.integers(1, 4))]
    return ", ".join([f"{i.thing} shaped like {_a(i.shape)}", i.stuff, i.fellow, i.place, *order])


def _a(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _pick(rng: np.random.Generator, words: Sequence[str]) -> str:
    return words[int(rng.integers(len(words)))]


def write_captions(out: Path, count: int, seed: int) -> None:
    """Write the rows of `caption_rows` as JSON lines."""
    lines = [json.dumps(row) + "\n" for row in caption_rows(count, seed)]
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(out, "".join(lines))


def caption_rows(count: int, seed: int) -> list[dict[str, str]]:
    """`count` captions with id, prompt, style and family, the styles in turn.

    Raises MemdetectError for a count that is not positive or exceeds what the words give.
    """
    if count < 1:
        raise MemdetectError(f"{count} captions were asked for, expected at least 1")
    rng = np.random.default_rng([seed, 6])
    rows: list[dict[str, str]] = []
    for k, idea in enumerate(ideas(rng, count)):
        style = STYLES[k % len(STYLES)]
        said = caption(rng, idea, style)
        rows.append({"id": f"general-{k:05d}", "prompt": said, "style": style, "family": f"idea-{k:05d}"})
    return rows
