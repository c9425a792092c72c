"""Every kind of file gives the pixels that a viewer shows, with its notes; every broken one is a one-line error."""

import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from memdetect.errors import Exit, MemdetectError
from memdetect.inputs.images import open_image, to_array


def save(folder: Path, image: Image.Image, name: str, **options: Any) -> Path:
    path = folder / name
    image.save(path, **options)
    return path


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)


def refusal(path: Path, max_pixels: int = 64_000_000) -> str:
    """The message with which a file is refused: a usage error of one line that names the file."""
    with pytest.raises(MemdetectError) as caught:
        open_image(path, max_pixels=max_pixels)
    message = str(caught.value)
    assert caught.value.exit is Exit.USAGE
    assert len(message.splitlines()) == 1
    assert repr(str(path)) in message
    return message


def png(width: int, height: int, depth: int, colour: int, pixels: bytes, *more: tuple[bytes, bytes]) -> bytes:
    """A PNG file written by hand, chunk by chunk."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), *more, (b"IDAT", zlib.compress(pixels)), (b"IEND", b"")]
    packed = [struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.webp", "wrong-extension.jpg"])
def test_plain_files_keep_their_pixels_and_have_no_notes(tmp_path: Path, name: str):
    pixels = noise(5, 7)
    options = {"lossless": True} if name == "a.webp" else {"format": "PNG"} if name.endswith("jpg") else {}
    opened = open_image(save(tmp_path, Image.fromarray(pixels), name, **options))
    assert (opened.image.mode, opened.image.size, opened.notes) == ("RGB", (7, 5), ())
    np.testing.assert_array_equal(np.asarray(opened.image), pixels)


@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_other_opaque_modes_become_rgb(tmp_path: Path, mode: str):
    image = Image.fromarray(noise(4, 4)).convert(mode)
    opened = open_image(save(tmp_path, image, "a.png"))
    np.testing.assert_array_equal(np.asarray(opened.image), np.asarray(image.convert("RGB")))
    assert opened.notes == ()


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_16_bit_grey_is_scaled_not_clipped(tmp_path: Path, name: str):
    deep = np.array([[0, 257, 128 * 257, 65535], [128, 129, 40000, 65406]], dtype=np.uint16)
    opened = open_image(save(tmp_path, Image.fromarray(deep), name))
    np.testing.assert_array_equal(np.asarray(opened.image)[..., 0], [[0, 1, 128, 255], [0, 1, 156, 254]])
    assert opened.notes == ("16-bit reduced to 8",)


@pytest.mark.parametrize(("bits", "white"), [(8, 255), (10, 1023), (12, 4095), (16, 65535)])
def test_grey_of_fewer_bits_in_16_is_read_by_its_range(tmp_path: Path, bits: int, white: int):
    """As cameras and scanners keep it: neither black, as in 16 bits, nor white, as Pillow clips it."""
    deep = (np.linspace(0, white, 64).reshape(8, 8)).astype(np.uint16)
    expected = np.round(deep.astype(float) * 255 / white)
    for name in ("a.png", "a.tif"):
        found = np.asarray(open_image(save(tmp_path, Image.fromarray(deep), name)).image)[..., 0]
        assert np.abs(found - expected).max() <= 1
        assert (found.min(), found.max()) == (0, 255)


def test_wide_grey_is_scaled_as_16_bit_or_refused(tmp_path: Path):
    deep = np.array([[0, 65535, 128 * 257]], dtype=np.int32)
    opened = open_image(save(tmp_path, Image.fromarray(deep), "a.tif"))
    assert np.asarray(opened.image)[..., 0].tolist() == [[0, 255, 128]]
    assert opened.notes == ("16-bit reduced to 8",)
    for wide in (deep * 2, deep - 1, deep.astype(np.float32)):
        assert "8 bits a channel" in refusal(save(tmp_path, Image.fromarray(wide), "b.tif"))


def test_16_bit_colour_is_noted(tmp_path: Path):
    (tmp_path / "a.png").write_bytes(png(1, 1, 16, 2, b"\0" + struct.pack(">3H", 0, 32896, 65535)))
    opened = open_image(tmp_path / "a.png")
    assert (opened.image.getpixel((0, 0)), opened.notes) == ((0, 128, 255), ("16-bit reduced to 8",))


def test_alpha_is_composited_on_white(tmp_path: Path):
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 51))
    image.putpixel((1, 0), (0, 0, 9, 0))
    opened = open_image(save(tmp_path, image, "a.png"))
    assert [opened.image.getpixel((x, 0)) for x in (0, 1)] == [(255, 204, 204), (255, 255, 255)]
    assert opened.notes == ("alpha composited on white",)
    image.putalpha(255)
    assert open_image(save(tmp_path, image, "b.png")).notes == ()


def test_transparent_palettes_and_colour_keys_are_composited(tmp_path: Path):
    palette = Image.new("P", (2, 1), 0)
    palette.putpalette([0, 0, 0, 0, 0, 255])
    palette.putpixel((1, 0), 1)
    files = [save(tmp_path, palette, "a.png", transparency=0), save(tmp_path, palette, "a.gif", transparency=0)]
    files.append(save(tmp_path, palette.convert("RGB"), "b.png", transparency=(0, 0, 0)))
    for path in files:
        opened = open_image(path)
        assert [opened.image.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (0, 0, 255)]
        assert opened.notes == ("alpha composited on white",)
    grey = png(3, 1, 16, 0, b"\0" + struct.pack(">3H", 7, 257, 65535), (b"tRNS", struct.pack(">H", 7)))
    (tmp_path / "deep.png").write_bytes(grey)
    opened = open_image(tmp_path / "deep.png")
    assert [opened.image.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (1, 1, 1)]
    assert opened.notes == ("16-bit reduced to 8", "alpha composited on white")


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_cmyk_is_converted(tmp_path: Path, name: str):
    opened = open_image(save(tmp_path, Image.new("CMYK", (8, 8), (0, 255, 255, 0)), name))
    red = np.asarray(opened.image)[0, 0].astype(int)
    assert abs(red - [255, 0, 0]).max() <= 3
    assert opened.notes == ("cmyk converted",)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, name: str, orientation: int):
    """The eight orientations of the EXIF standard: where the stored first row and first column are shown."""
    shown, exif = noise(3, 5), Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    flipped = shown.swapaxes(0, 1) if orientation > 4 else shown
    rows, columns = {1: (1, 1), 2: (1, -1), 3: (-1, -1), 4: (-1, 1), 5: (1, 1), 6: (-1, 1), 7: (-1, -1), 8: (1, -1)}[
        orientation
    ]
    stored = np.ascontiguousarray(flipped[::rows, ::columns])
    options = {"lossless": True} if name == "a.webp" else {}
    opened = open_image(save(tmp_path, Image.fromarray(stored), name, exif=exif, **options))
    np.testing.assert_array_equal(np.asarray(opened.image), shown)
    assert opened.notes == (() if orientation == 1 else ("exif orientation applied",))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("exif", [b"Exif\0\0junk", b"junk", b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01"])
def test_a_broken_exif_block_is_passed_over(tmp_path: Path, exif: bytes):
    for name in ("a.jpg", "a.png", "a.webp"):
        opened = open_image(save(tmp_path, Image.new("RGB", (9, 5)), name, exif=exif))
        assert opened.image.size == (9, 5)
        assert opened.notes in ((), ("exif unreadable, orientation not applied",))
    assert opened.notes or exif.startswith(b"Exif\0\0II")


@pytest.mark.parametrize(("name", "count"), [("a.gif", 12), ("a.png", 2), ("a.webp", 12), ("a.tif", 2)])
def test_the_first_of_several_frames_is_used(tmp_path: Path, name: str, count: int):
    frames = [Image.new("RGB", (4, 4), (20 * n, 0, 0)) for n in range(count)]
    options = {"lossless": True} if name == "a.webp" else {}
    opened = open_image(save(tmp_path, frames[0], name, save_all=True, append_images=frames[1:], **options))
    assert opened.image.getpixel((1, 1)) == (0, 0, 0)
    assert opened.notes == (f"animated: first frame of {count} used",)


def test_the_pixel_limit_is_checked_before_decoding(tmp_path: Path):
    path = save(tmp_path, Image.new("RGB", (30, 20)), "a.png")
    assert open_image(path, max_pixels=600).image.size == (30, 20)
    message = refusal(path, max_pixels=599)
    assert all(word in message for word in ("30 x 20 = 600", "599", "max_pixels"))
    for side, words in ((9000, "81,000,000"), (9999, "99,980,001"), (60000, "decompression bomb")):
        path.write_bytes(png(side, side, 8, 2, b""))  # nothing to decode: only the header can tell
        assert words in refusal(path)
    assert "decompression bomb" in refusal(path, max_pixels=10**12)


def test_a_larger_limit_is_not_cut_short_by_pillows_warning(tmp_path: Path):
    path = save(tmp_path, Image.new("1", (10_000, 9000), 1), "a.png")
    assert "90,000,000" in refusal(path)
    assert open_image(path, max_pixels=90_000_000).image.size == (10_000, 9000)


def test_what_is_no_image_is_refused(tmp_path: Path):
    assert "no such file" in refusal(tmp_path / "gone\n.png")
    assert "no such file" in refusal(tmp_path)
    path = tmp_path / "a.png"
    contents = {
        b"": "empty",
        b"hello": "not an image",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n": "PNG, JPEG",
    }
    ico, ppm = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (16, 16)).save(ico, "ICO")
    Image.new("RGB", (4, 4)).save(ppm, "PPM")
    contents |= {ico.getvalue(): "known format", ppm.getvalue(): "known format", png(0, 5, 8, 2, b""): "a.png"}
    for content, words in contents.items():
        path.write_bytes(content)
        assert words in refusal(path)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.bmp", "a.tif", "a.gif"])
def test_truncated_files_are_refused(tmp_path: Path, name: str):
    whole = save(tmp_path, Image.fromarray(noise(24, 24)), name).read_bytes()
    for share in (0.1, 0.5, 0.9):
        (tmp_path / name).write_bytes(whole[: int(len(whole) * share)])
        assert refusal(tmp_path / name).endswith("PNG")


@settings(max_examples=150)
@given(st.data())
def test_damaged_files_give_an_image_or_a_message(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject):
    """No damage may end in another exception, in a warning, or in a picture of another mode."""
    form = data.draw(st.sampled_from(["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"]))
    mode = data.draw(st.sampled_from(["RGB", "L", "P"] if form not in ("JPEG", "WEBP") else ["RGB"]))
    file, exif = io.BytesIO(), Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(noise(9, 12)).convert(mode).save(file, form, **({"exif": exif} if form in ("JPEG", "PNG") else {}))
    content = bytearray(file.getvalue())
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=6)):
        content[at] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "a.img"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            opened = open_image(path, max_pixels=10**6)
        except MemdetectError:
            refusal(path, max_pixels=10**6)
        else:
            assert opened.image.mode == "RGB"


def test_to_array_keeps_pixels_of_the_same_size():
    pixels = noise(4, 6)
    array = to_array(Image.fromarray(pixels), (4, 6))
    assert (array.shape, array.dtype, array.flags.c_contiguous) == ((3, 4, 6), np.float32, True)
    np.testing.assert_allclose(array, pixels.transpose(2, 0, 1) / 127.5 - 1, atol=1e-6)
    assert (array.min() >= -1, array.max() <= 1) == (True, True)
    assert to_array(Image.new("RGB", (3, 3), "white"), (2, 2)).tolist() == np.ones((3, 2, 2)).tolist()
    assert to_array(Image.new("RGB", (3, 3), "black"), (2, 2)).tolist() == (-np.ones((3, 2, 2))).tolist()


def test_to_array_crops_the_centre_and_never_squashes():
    wide = Image.new("RGB", (30, 10), "red")
    wide.paste((0, 0, 255), (10, 0, 20, 10))
    np.testing.assert_array_equal(to_array(wide, (5, 5)), to_array(Image.new("RGB", (5, 5), "blue"), (5, 5)))
    tall = wide.transpose(Image.Transpose.ROTATE_90)
    np.testing.assert_array_equal(to_array(tall, (20, 20)), to_array(Image.new("RGB", (9, 9), "blue"), (20, 20)))


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 40), st.integers(1, 40))
def test_to_array_is_centred_for_all_sizes(width: int, height: int, rows: int, columns: int):
    """A mirror image gives the mirrored array, so nothing is off centre, and a ramp stays within its range."""
    ramp = np.linspace(0, 255, width)[None, :, None] * np.ones((height, 1, 3))
    image = Image.fromarray(ramp.astype(np.uint8))
    array = to_array(image, (rows, columns))
    mirrored = to_array(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), (rows, columns))
    assert array.shape == (3, rows, columns)
    np.testing.assert_allclose(array, mirrored[:, :, ::-1], atol=2.1 / 127.5)


def test_to_array_refuses_other_modes_and_sizes():
    with pytest.raises(MemdetectError, match="RGB image is expected, not L; open it with open_image"):
        to_array(Image.new("L", (4, 4)), (4, 4))
    for size in ((0, 4), (4, -1)):
        with pytest.raises(MemdetectError, match="start at 1"):
            to_array(Image.new("RGB", (4, 4)), size)


def test_a_row_of_160_bytes_is_not_taken_for_16_bits(tmp_path):
    assert open_image(save(tmp_path, Image.new("RGB", (53, 40), "red"), "a.bmp")).notes == ()


@pytest.mark.parametrize("name", ["x" * 300 + ".png", "file/a.png"])
def test_a_path_that_the_system_refuses_is_one_line(name, tmp_path):
    (tmp_path / "file").touch()
    message = refusal(tmp_path / name)
    assert "cannot be read (File name too long)" in message or "there is no such file" in message
