"""From what a user has (an RGB picture, or a tensor of their own) to the tensors that the network reads."""

from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from edgekit.bundle import InputSpec, Preprocessing
from edgekit.errors import InputError
from edgekit.runtime.pictures.resize import resize_columns, resize_rows

# A picture that would be enlarged by less than this stays as it is: padding is exact, resampling blurs.
WORTH_ENLARGING = 1.05


class Placement(NamedTuple):
    """Where in the tensor a picture lies, so that the answer can be brought back to the picture.

    Attributes:
        height, width: the picture's own size in px.
        top, left, rows, columns: the rectangle of the tensor that it fills.
    """

    height: int
    width: int
    top: int
    left: int
    rows: int
    columns: int


class Prepared(NamedTuple):
    """Network inputs by name, and the placement of the pictures they came from (None: tensors of the network's own size)."""

    tensors: Dict[str, np.ndarray]
    placement: Optional[Placement]


class Preprocessor:
    """Turns the arguments of ``infer`` into network inputs, by the recipes of the manifest.

    Buffers are reused: give a frame's tensors back with `release` when nothing reads them any more.
    Threads may share a preprocessor.
    """

    def __init__(
        self,
        inputs: Sequence[InputSpec],
        allow_nonfinite: bool = False,
        allocate: Callable[[InputSpec], np.ndarray] = lambda spec: np.empty(spec.shape, np.float32),
    ) -> None:
        self._allocate = allocate
        self._inputs = {spec.name: spec for spec in inputs}
        self._allow_nonfinite = allow_nonfinite
        self._free: Dict[str, List[np.ndarray]] = {spec.name: [] for spec in inputs}
        self._lent: Dict[int, str] = {}

    def prepare(self, given: Mapping[str, object], copy: bool = False) -> Prepared:
        """Check and convert every input.

        Takes per input: a uint8 picture (H, W, 3) RGB, (H, W, 4) RGBA whose alpha is dropped, or (H, W) or (H, W, 1) grey,
        of any size; or a normalised floating-point tensor NCHW of the network's own size, which goes in as it is, or
        smaller, which is padded like a picture. With ``copy``, nothing of what was given is read after the return.

        Raises:
            InputError: an input is missing, unknown, of a kind, shape or dtype that cannot be used, holds NaN or Inf, or
                the pictures differ in size.
        """
        arrays, placements = self._checked(given)
        tensors = {name: self._fill(name, arrays[name], placements[name], copy) for name in arrays}
        return Prepared(tensors, next(iter(placements.values())))

    def check(self, given: Mapping[str, object]) -> Optional[Placement]:
        """Refuse what `prepare` refuses before it looks at values, and say where pictures will lie in their tensors.

        Raises:
            InputError: see `prepare`.
        """
        return next(iter(self._checked(given)[1].values()))

    def _checked(
        self, given: Mapping[str, object]
    ) -> Tuple[Dict[str, np.ndarray], Dict[str, Optional[Placement]]]:
        names = ", ".join(self._inputs)
        for name in given:
            if name not in self._inputs:
                raise InputError(f"{name!r} is not an input of this network; it takes {names}")
        missing = [name for name in self._inputs if given.get(name) is None]
        if missing:
            raise InputError(f"{', '.join(missing)} is missing; this network takes {names}")
        arrays = {name: as_array(name, given[name]) for name in self._inputs}
        placements = {name: self._place(name, arrays[name]) for name in self._inputs}
        first = next(iter(placements))
        for name, placement in placements.items():
            if placement != placements[first]:
                raise InputError(
                    f"{first} is {_size(arrays[first])} and {name} is {_size(arrays[name])}; "
                    "the inputs of one frame must be of one size"
                )
        return arrays, placements

    def release(self, prepared: Prepared) -> None:
        """Take back the buffers of a frame that is over."""
        for array in prepared.tensors.values():
            name = self._lent.pop(id(array), None)
            if name is not None:
                self._free[name].append(array)

    def _buffer(self, name: str) -> np.ndarray:
        try:
            return self._free[name].pop()
        except IndexError:
            return self._allocate(self._inputs[name])

    def _place(self, name: str, array: np.ndarray) -> Optional[Placement]:
        spec = self._inputs[name]
        recipe = spec.preprocessing
        if array.dtype == np.uint8 and recipe is not None and array.ndim in (2, 3):
            if spec.shape[0] != 1:
                raise InputError(
                    f"{name}: the graphs of this bundle take {spec.shape[0]} pictures at once; give them to infer_batch"
                )
            if recipe.fit == "crop":
                _check_not_empty(array.shape[0], array.shape[1], spec)
                return Placement(array.shape[0], array.shape[1], 0, 0, *spec.shape[2:])
            return _letterbox(array.shape[0], array.shape[1], spec, enlarge=True)
        if array.dtype.kind != "f":
            raise InputError(
                f"{name} has dtype {array.dtype} and shape {array.shape}; {_wanted(spec)}{_advice(array)}"
            )
        if array.shape == spec.shape:
            return None
        if (
            array.ndim != 4
            or len(spec.shape) != 4
            or array.shape[:2] != spec.shape[:2]
            or recipe is None
            or recipe.fit == "crop"
        ):
            raise InputError(f"{name} has shape {array.shape}; {_wanted(spec)}{_advice(array)}")
        height, width = array.shape[2:]
        if not (0 < height <= spec.shape[2] and 0 < width <= spec.shape[3]):
            raise InputError(f"{name} has {height}x{width} px, more than the network's; {_wanted(spec)}")
        return _letterbox(height, width, spec, enlarge=False)

    def _fill(self, name: str, array: np.ndarray, placement: Optional[Placement], copy: bool) -> np.ndarray:
        spec = self._inputs[name]
        if array.dtype.kind == "f":
            with np.errstate(over="ignore"):  # what float32 cannot hold becomes Inf, which is refused below
                array = (
                    np.array(array, np.float32, order="C", copy=True)
                    if copy
                    else np.ascontiguousarray(array, np.float32)
                )
            if not self._allow_nonfinite:
                _check_finite(name, array)
        if placement is None:
            return array
        recipe = spec.preprocessing
        assert recipe is not None  # a placement comes from a recipe
        tensor = self._buffer(name)
        self._lent[id(tensor)] = name
        bottom, right = placement.top + placement.rows, placement.left + placement.columns
        inside = tensor[0, :, placement.top : bottom, placement.left : right]
        if array.dtype == np.uint8:
            size = inside.shape[1:]
            if recipe.fit == "crop":
                size = _covering(array.shape[0], array.shape[1], recipe)
            _normalise(_planes(name, array, spec), recipe, size, inside)
        else:
            inside[...] = array[0]
        _pad(tensor[0], placement, recipe.fill)
        return tensor


def _letterbox(height: int, width: int, spec: InputSpec, enlarge: bool) -> Placement:
    rows, columns = spec.shape[2:]
    recipe = spec.preprocessing
    assert recipe is not None
    _check_not_empty(height, width, spec)
    size = (height, width)
    # Resized to the picture size that the network is meant for; smaller than its tensor, which is a multiple of something.
    scale = min(recipe.height / height, recipe.width / width)
    if height > rows or width > columns or (enlarge and scale >= WORTH_ENLARGING):
        size = (min(max(int(height * scale + 0.5), 1), rows), min(max(int(width * scale + 0.5), 1), columns))
    vertical, horizontal = recipe.anchor.split("-")
    return Placement(
        height,
        width,
        top=rows - size[0] if vertical == "bottom" else 0,
        left=columns - size[1] if horizontal == "right" else 0,
        rows=size[0],
        columns=size[1],
    )


def _check_not_empty(height: int, width: int, spec: InputSpec) -> None:
    if height < 1 or width < 1:
        raise InputError(f"{spec.name} is an empty picture, {width} x {height} px")


def _planes(name: str, picture: np.ndarray, spec: InputSpec) -> np.ndarray:
    """A uint8 picture as (H, W, channels of the network)."""
    channels = spec.shape[1]
    if picture.ndim == 2:
        picture = picture[..., None]
    if picture.shape[2] == 4 and channels == 3:
        return picture[..., :3]
    if picture.shape[2] == 1:
        return np.broadcast_to(picture, picture.shape[:2] + (channels,))
    if picture.shape[2] != channels:
        raise InputError(f"{name} has shape {picture.shape}; {_wanted(spec)}")
    return picture


def _covering(height: int, width: int, recipe: Preprocessing) -> Tuple[int, int]:
    """The size (rows, columns) of a picture of ``height`` x ``width`` px once it covers what ``recipe`` takes the centre of."""
    scale = max(recipe.height / recipe.crop / height, recipe.width / recipe.crop / width)
    return max(int(height * scale + 0.5), recipe.height), max(int(width * scale + 0.5), recipe.width)


def _normalise(picture: np.ndarray, recipe: Preprocessing, size: Tuple[int, int], out: np.ndarray) -> None:
    """Write ``(picture / 255 - mean) / std``, resized to ``size``, plane by plane; its centre where ``out`` is smaller."""
    top, left = (size[0] - out.shape[1]) // 2, (size[1] - out.shape[2]) // 2
    if picture.shape[0] != size[0]:
        picture = resize_rows(picture, size[0])
    picture = picture[top : top + out.shape[1]]
    for channel, plane in enumerate(out):
        source = picture[..., channel]
        if source.shape[1] != size[1]:
            source = resize_columns(source, size[1])
        std = recipe.std[channel]
        source = source[:, left : left + plane.shape[1]]
        np.multiply(source, np.float32(1.0 / (255.0 * std)), out=plane, dtype=np.float32)
        np.subtract(plane, np.float32(recipe.mean[channel] / std), out=plane)


def _pad(tensor: np.ndarray, placement: Placement, fill: str) -> None:
    """Fill the rest of (C, H, W) around the picture."""
    top, left = placement.top, placement.left
    bottom, right = top + placement.rows, left + placement.columns
    rows = slice(top, bottom)
    if fill == "edge":
        tensor[:, rows, :left] = tensor[:, rows, left : left + 1]
        tensor[:, rows, right:] = tensor[:, rows, right - 1 : right]
        tensor[:, :top] = tensor[:, top : top + 1]
        tensor[:, bottom:] = tensor[:, bottom - 1 : bottom]
    else:
        for border in (tensor[:, rows, :left], tensor[:, rows, right:], tensor[:, :top], tensor[:, bottom:]):
            border[...] = 0.0


def _check_finite(name: str, array: np.ndarray) -> None:
    # One pass without a temporary array: a sum is NaN or Inf if anything is, and looked at closely only then.
    with np.errstate(over="ignore", invalid="ignore"):
        suspicious = not np.isfinite(array.sum(dtype=np.float32))
    if suspicious:
        count = int(array.size - np.count_nonzero(np.isfinite(array)))
        if count:
            raise InputError(
                f"{name} holds {count} NaN or Inf; load the bundle with allow_nonfinite=True (--allow-nonfinite) to let them pass"
            )


def as_array(name: str, value: object) -> np.ndarray:
    """What was given as the input ``name``, as an array.

    Raises:
        InputError: it is a file name, or nothing that numpy reads.
    """
    if isinstance(value, (str, bytes)) or hasattr(value, "__fspath__"):
        raise InputError(
            f"{name} is a file name; read the picture first, with edgekit.runtime.pictures.read_picture"
        )
    try:
        array = np.asarray(value)
        # NumPy before 1.24 makes objects of rows of different lengths.
        if array.dtype.kind == "O" and isinstance(value, (list, tuple)):
            raise ValueError("its rows are no numbers, or of different lengths")
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{name}, a {type(value).__name__}, cannot be read as an array: {error}") from error
    return array


def _wanted(spec: InputSpec) -> str:
    tensor = f"a normalised float32 tensor {spec.layout} of shape {spec.shape}"
    if spec.preprocessing is None:
        return f"this input is {tensor}"
    return f"give a uint8 RGB picture (H, W, 3), or {tensor} or with fewer rows and columns"


def _advice(array: np.ndarray) -> str:
    if array.dtype == np.uint16:
        return ". 16-bit pictures: scale to 8 bits, for full range (picture >> 8).astype('uint8')"
    if array.dtype.kind == "f" and array.ndim in (2, 3):
        return ". Pictures of 0 to 1: (picture * 255).round().astype('uint8')"
    return ""


def _size(array: np.ndarray) -> str:
    height, width = array.shape[:2] if array.ndim < 4 else array.shape[2:]
    return f"{width} x {height} px" if array.ndim < 4 else f"a tensor of {width} x {height} px"
