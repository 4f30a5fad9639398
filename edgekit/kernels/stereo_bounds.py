"""Whether the steps of stereo networks stay within a program's own arrays."""

from edgekit.kernels.bounds import WIDEST_MATCH, Bounds, Wrong, few, instead_of_planes, positive, steps_wide


class StereoBounds(Bounds):
    """A program's bounds, and the checks of these steps by their names."""

    def _resize(
        self, input: int, sources: int, channels: int, height: int, width: int, source_pitch: int, row_table: int,
        row_weights: int, column_table: int, column_weights: int, scale: int, shift: int, floor: int, addend: int, output: int,
        rows: int, columns: int, pitch: int, planes: int,
    ) -> None:  # fmt: skip
        positive(
            channels=channels, height=height, width=width, rows=rows, columns=columns, lines=channels * rows
        )
        if input == -1:
            self._planes(sources, channels, height, width, source_pitch)
        else:
            self._input(input, channels, height, width)
            instead_of_planes(sources, source_pitch, width)
        if output == -1:
            self._planes(planes, channels, rows, columns, pitch)
        else:
            self._output(output, channels, rows, columns)
            instead_of_planes(planes, pitch, columns)
        if addend != -1:
            self._input(addend, channels, rows, columns)
        for table, weights, count, side in (
            (row_table, row_weights, rows, height),
            (column_table, column_weights, columns, width),
        ):
            places = self._table(table, 2 * count)
            if places.min() < 0 or places.max() >= side:
                raise Wrong(f"mixes pixels {places.min()} to {places.max()} of {side}")
            self._constants(weights, count)
        self._before(scale, shift, floor, channels)

    def _transpose(
        self, channels: int, sources: int, height: int, width: int, source_pitch: int, planes: int, pitch: int
    ) -> None:
        self._planes(sources, channels, height, width, source_pitch)
        self._planes(planes, channels, width, height, pitch)
        positive(columns=channels * width)

    def _volume(
        self, left: int, right: int, channels: int, height: int, width: int, pitch: int, disparity: int, first: int, step: int,
        slices: int, sums: int, limits: int, planes: int,
    ) -> None:  # fmt: skip
        for views in (left, right):
            self._planes(views, channels, height, width, pitch)
        self._planes(planes, slices, height, width, pitch)
        if disparity != -1:
            self._arena(disparity, (height - 1) * pitch + width)
        steps_wide(distance=first + 1, slices=slices)
        if width > WIDEST_MATCH or step not in (-1, 1):
            raise Wrong(f"matches rows of {width} in steps of {step}")
        positive(samples=channels * (width + 4 * (first + slices + 1)))
        self._constants(sums, 2)
        self._constants(limits, 2)

    def _expectation(
        self, slices: int, sources: int, height: int, width: int, pitch: int, values: int, to: int
    ) -> None:
        self._planes(sources, slices, height, width, pitch)
        self._arena(to, (height - 1) * pitch + width)
        self._constants(values, slices)

    def _propagate(
        self, channels: int, sources: int, gates: int, height: int, width: int, pitch: int, planes: int
    ) -> None:
        for table, count in ((sources, channels), (gates, 3 * channels), (planes, channels)):
            self._planes(table, count, height, width, pitch)

    def _stem(
        self, input: int, channels: int, height: int, width: int, inner: int, outputs: int, rows: int, columns: int, pitch: int,
        planes: int, weight: int, bias: int, second: int, second_bias: int, limits: int,
    ) -> None:  # fmt: skip
        self._input(input, channels, height, width)
        few(channels=channels, inner=inner)
        if (rows, columns) != (-(-height // 2), -(-width // 2)):
            raise Wrong(f"writes {rows} x {columns} of {height} x {width}")
        self._planes(planes, outputs, rows, columns, pitch)
        for at, count in (
            (weight, inner * channels * 9), (bias, inner), (second, outputs * inner * 9), (second_bias, outputs), (limits, 2),
        ):  # fmt: skip
            self._constants(at, count)
