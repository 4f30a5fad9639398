"""What a user may give as an input, what becomes of it, and what is refused with which advice."""

from typing import Tuple

import numpy as np
import pytest

from edgekit.bundle import InputSpec, Preprocessing
from edgekit.errors import InputError
from edgekit.runtime.preprocess import Placement, Prepared, Preprocessor

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TENSOR = (48, 64)
MEANT = (45, 60)


def preprocessor(allow_nonfinite: bool = False, **recipe: str) -> Preprocessor:
    made = Preprocessing(MEANT[0], MEANT[1], "RGB", MEAN, STD)._replace(**recipe)
    specs = [InputSpec(name, "float32", (1, 3) + TENSOR, "NCHW", None, made) for name in ("left", "right")]
    return Preprocessor(specs, allow_nonfinite)


def picture(height: int = MEANT[0], width: int = MEANT[1], channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.RandomState(seed).randint(0, 256, (height, width, channels)).astype(np.uint8)


def normalised(rgb: np.ndarray) -> np.ndarray:
    """The recipe as it is written down, in double precision."""
    return np.moveaxis((rgb.astype(np.float64) / 255 - MEAN) / STD, 2, 0)


def prepare(left: object, right: object = None, **options: object) -> Prepared:
    return preprocessor(**options).prepare({"left": left, "right": left if right is None else right})  # type: ignore[arg-type]


# --- Pictures ---------------------------------------------------------------------------------------------------------


def test_a_picture_is_normalised_at_the_bottom_right_and_its_edge_is_repeated() -> None:
    rgb = picture()
    prepared = prepare(rgb)
    assert prepared.placement == Placement(45, 60, top=3, left=4, rows=45, columns=60)
    expected = np.pad(normalised(rgb), ((0, 0), (3, 0), (4, 0)), mode="edge")
    tensor = prepared.tensors["left"]
    assert tensor.dtype == np.float32
    assert tensor.flags["C_CONTIGUOUS"]
    np.testing.assert_allclose(tensor[0], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("anchor", "padding"),
    [("bottom-left", ((3, 0), (0, 4))), ("bottom-right", ((3, 0), (4, 0))),
     ("top-left", ((0, 3), (0, 4))), ("top-right", ((0, 3), (4, 0)))],
)  # fmt: skip
@pytest.mark.parametrize(("fill", "mode"), [("edge", "edge"), ("zeros", "constant")])
def test_every_anchor_and_fill_is_what_numpy_pads(
    anchor: str, padding: Tuple[Tuple[int, int], ...], fill: str, mode: str
) -> None:
    rgb = picture()
    tensor = prepare(rgb, anchor=anchor, fill=fill).tensors["left"]
    np.testing.assert_allclose(tensor[0], np.pad(normalised(rgb), ((0, 0),) + padding, mode=mode), atol=1e-6)


def test_grey_is_repeated_into_three_channels_and_alpha_is_dropped() -> None:
    grey = picture(channels=1)
    rgb = np.repeat(grey, 3, axis=2)
    expected = prepare(rgb).tensors["left"]
    rgba = np.concatenate([rgb, picture(channels=1, seed=9)], axis=2)
    for given in (grey, grey[..., 0], rgba, np.asfortranarray(rgb), rgb[::-1][::-1]):
        np.testing.assert_array_equal(prepare(given).tensors["left"], expected)


@pytest.mark.parametrize(
    ("size", "rectangle"),
    [
        ((45, 60), (45, 60)),  # as meant
        ((48, 64), (48, 64)),  # as large as the tensor
        ((46, 61), (46, 61)),  # fits: padding is exact, resampling blurs
        ((90, 120), (45, 60)),  # shrunk to what is meant
        ((90, 90), (45, 45)),  # keeping its aspect ratio
        ((20, 20), (45, 45)),  # enlarged
        ((2000, 3), (45, 1)),
        ((1, 1), (45, 45)),
    ],
)
def test_a_picture_of_any_size_keeps_its_aspect_ratio(
    size: Tuple[int, int], rectangle: Tuple[int, int]
) -> None:
    placement = prepare(picture(*size)).placement
    assert placement is not None
    assert (placement.height, placement.width) == size
    assert (placement.rows, placement.columns) == rectangle
    assert (placement.top, placement.left) == (48 - rectangle[0], 64 - rectangle[1])


def test_a_picture_of_twice_the_size_is_the_mean_of_its_pixels() -> None:
    rgb = picture(90, 120)
    tensor = prepare(rgb).tensors["left"]
    mean = rgb.reshape(45, 2, 60, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(tensor[0, :, 3:, 4:], normalised(mean), atol=1e-5)


def test_buffers_are_used_again_only_after_they_were_given_back() -> None:
    shared = preprocessor()
    first = shared.prepare({"left": picture(seed=1), "right": picture(seed=2)})
    kept = first.tensors["left"].copy()
    second = shared.prepare({"left": picture(seed=3), "right": picture(seed=4)})
    np.testing.assert_array_equal(first.tensors["left"], kept)
    shared.release(first)
    third = shared.prepare({"left": picture(seed=5), "right": picture(seed=6)})
    assert third.tensors["left"] is first.tensors["left"]
    assert third.tensors["left"] is not second.tensors["left"]


# --- Tensors ----------------------------------------------------------------------------------------------------------


def test_a_tensor_of_the_networks_own_size_goes_in_as_it_is() -> None:
    tensor = np.random.RandomState(0).randn(1, 3, *TENSOR).astype(np.float32)
    prepared = prepare(tensor)
    assert prepared.placement is None
    assert prepared.tensors["left"] is tensor
    copied = preprocessor().prepare({"left": tensor, "right": tensor}, copy=True)
    assert not np.shares_memory(copied.tensors["left"], tensor)


def test_a_smaller_tensor_is_padded_like_a_picture_and_never_resized() -> None:
    for height, width in (MEANT, (20, 20)):
        tensor = np.random.RandomState(0).randn(1, 3, height, width)
        prepared = prepare(tensor)
        assert prepared.placement == Placement(height, width, 48 - height, 64 - width, height, width)
        padding = ((0, 0), (0, 0), (48 - height, 0), (64 - width, 0))
        expected = np.pad(tensor, padding, mode="edge").astype(np.float32)
        np.testing.assert_array_equal(prepared.tensors["left"], expected)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("size", [TENSOR, MEANT])
def test_nan_and_inf_are_refused_unless_allowed(bad: float, size: Tuple[int, int]) -> None:
    tensor = np.zeros((1, 3) + size, np.float32)
    tensor[0, 1, 7, 9] = bad
    with pytest.raises(
        InputError, match=r"left holds 1 NaN or Inf.*allow_nonfinite=True \(--allow-nonfinite\)"
    ):
        prepare(tensor)
    assert not np.isfinite(prepare(tensor, allow_nonfinite=True).tensors["left"]).all()


def test_large_but_finite_values_are_not_taken_for_infinite_ones() -> None:
    tensor = np.full((1, 3) + TENSOR, 3e38, np.float32)
    assert prepare(tensor).tensors["left"] is tensor


@pytest.mark.parametrize("size", [TENSOR, MEANT])
def test_values_that_float32_cannot_hold_are_refused_as_infinite_ones(size: Tuple[int, int]) -> None:
    with pytest.raises(InputError, match="NaN or Inf"):
        prepare(np.full((1, 3) + size, 1e300))


# --- Refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("left.png", "is a file name; read the picture first"),
        (np.zeros((45, 60, 3), np.uint16), r"uint16.*\(picture >> 8\)"),
        (np.zeros((45, 60), np.uint16), "16-bit pictures"),
        (np.zeros((45, 60, 3), np.float32), r"Pictures of 0 to 1: \(picture \* 255\)"),
        (np.zeros((45, 60, 3), np.int64), "dtype int64"),
        (np.zeros((45, 60, 3), bool), "dtype bool"),
        (np.zeros((45, 60, 2), np.uint8), r"shape \(45, 60, 2\)"),
        (np.zeros((45, 60, 5), np.uint8), r"shape \(45, 60, 5\)"),
        (np.zeros((1, 3, 48, 64), np.uint8), "dtype uint8"),
        (np.zeros((2, 3, 48, 64), np.float32), r"shape \(2, 3, 48, 64\)"),
        (np.zeros((1, 1, 48, 64), np.float32), r"shape \(1, 1, 48, 64\)"),
        (np.zeros((3, 48, 64), np.float32), "give a uint8 RGB picture"),
        (np.zeros((1, 3, 49, 64), np.float32), "more than the network's"),
        (np.zeros((0, 60, 3), np.uint8), "empty picture"),
        ([["a"]], "dtype"),
        (object(), "dtype object"),
    ],
)
def test_what_cannot_be_used_is_refused_with_what_can(given: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        prepare(given)


def test_pictures_of_different_size_are_refused() -> None:
    with pytest.raises(InputError, match="left is 60 x 45 px and right is 62 x 45 px"):
        prepare(picture(), picture(45, 62))
    with pytest.raises(InputError, match="of one size"):
        prepare(picture(), np.zeros((1, 3) + TENSOR, np.float32))


def test_missing_and_unknown_inputs_are_named() -> None:
    with pytest.raises(InputError, match="right is missing; this network takes left, right"):
        preprocessor().prepare({"left": picture()})
    with pytest.raises(InputError, match="right is missing"):
        preprocessor().prepare({"left": picture(), "right": None})
    with pytest.raises(InputError, match="'image' is not an input of this network"):
        preprocessor().prepare({"left": picture(), "right": picture(), "image": picture()})


def test_an_input_that_is_no_picture_takes_only_its_tensor() -> None:
    vector = Preprocessor([InputSpec("image", "float32", (1, 8), "NC", None, None)])
    given = np.zeros((1, 8), np.float32)
    assert vector.prepare({"image": given}).tensors["image"] is given
    for bad in (np.zeros((1, 9), np.float32), picture()):
        with pytest.raises(InputError, match="this input is a normalised float32 tensor NC"):
            vector.prepare({"image": bad})


def test_whatever_turns_into_an_array_is_read() -> None:
    class Tensor:
        def __array__(self, *rest: object, **options: object) -> np.ndarray:
            return picture()

    np.testing.assert_array_equal(prepare(Tensor()).tensors["left"], prepare(picture()).tensors["left"])


# --- Pictures that are classified ---------------------------------------------------------------------------------------


def centred(rgb: np.ndarray, crop: float, size: Tuple[int, int] = (48, 64)) -> np.ndarray:
    recipe = Preprocessing(size[0], size[1], "RGB", MEAN, STD, fit="crop", crop=crop)
    cropping = Preprocessor([InputSpec("image", "float32", (1, 3) + size, "NCHW", None, recipe)])
    return cropping.prepare({"image": rgb}).tensors["image"][0]


def test_the_centre_of_a_picture_that_covers_enough_is_taken_as_it_is() -> None:
    rgb = picture(60, 80)  # covers 48 x 64 / 0.8 exactly
    np.testing.assert_allclose(centred(rgb, 0.8), normalised(rgb[6:54, 8:72]), atol=1e-6)
    wide = picture(48, 100)
    np.testing.assert_allclose(centred(wide, 1.0), normalised(wide[:, 18:82]), atol=1e-6)


def test_other_sizes_are_resized_with_their_aspect_ratio_before_the_centre_is_taken() -> None:
    ramp = np.repeat(np.tile(np.arange(200, dtype=np.uint8), (100, 1))[..., None], 3, axis=2)
    tensor = centred(ramp, 1.0, (50, 50))  # 100 x 200 becomes 50 x 100, of that columns 25 to 75
    expected = normalised(np.repeat((np.arange(25, 75) * 2 + 0.5)[None, :, None], 3, axis=2))
    np.testing.assert_allclose(tensor, np.broadcast_to(expected, (3, 50, 50)), atol=2e-2)


def test_graphs_for_several_pictures_take_no_single_one() -> None:
    recipe = Preprocessing(48, 64, "RGB", MEAN, STD, fit="crop")
    four = Preprocessor([InputSpec("image", "float32", (4, 3, 48, 64), "NCHW", None, recipe)])
    with pytest.raises(InputError, match="4 pictures at once; give them to infer_batch"):
        four.prepare({"image": picture(48, 64)})
