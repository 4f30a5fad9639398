"""Messages as ROS 2 has them: read back by the maintained libraries of others, from bytes and from a recording."""

import io
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.errors import EdgekitError
from edgekit.runtime.ros.cdr import encode
from edgekit.runtime.ros.mcap import CHUNK_NS, Recording
from edgekit.runtime.ros.messages import (
    DiagnosticArray,
    DiagnosticStatus,
    DisparityImage,
    Header,
    Image,
    KeyValue,
    RegionOfInterest,
    Time,
    type_name,
)

Needs = Callable[..., ModuleType]
SECOND = 1_000_000_000


def disparity(number: int, frame_id: str = "left") -> DisparityImage:
    values = (np.arange(12, dtype=np.float32) + number).reshape(3, 4)
    header = Header(Time(1700000000 + number // 20, number % 20 * 50_000_000), frame_id)
    image = Image(header, 3, 4, "32FC1", 0, 16, values.tobytes())
    window = RegionOfInterest(1, 0, 3, 3, False)
    return DisparityImage(header, image, 721.5, 0.54, window, 0.0, 192.0, 0.125)


def diagnosis(*statuses: DiagnosticStatus) -> DiagnosticArray:
    return DiagnosticArray(Header(Time(7, 8), ""), statuses)


texts = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=9)
statuses = st.builds(
    DiagnosticStatus,
    st.integers(0, 3),
    texts,
    texts,
    texts,
    st.lists(st.builds(KeyValue, texts, texts), max_size=3).map(tuple),
)


@pytest.fixture(scope="module")
def store(needs: Needs) -> Any:
    """ROS 2's message types, as rosbags ships them, with their reader and writer."""
    types = needs("rosbags.typesys")
    return types.get_typestore(types.Stores.ROS2_HUMBLE)


@settings(deadline=None)
@given(st.lists(statuses, max_size=3))
def test_texts_and_lists_of_any_length_are_read_by_rosbags_with_its_own_definitions(
    store: Any, drawn: list[DiagnosticStatus]
) -> None:
    read = store.deserialize_cdr(encode(diagnosis(*drawn)), "diagnostic_msgs/msg/DiagnosticArray")
    assert (read.header.stamp.sec, read.header.stamp.nanosec) == (7, 8)
    found = [
        (
            one.level,
            one.name,
            one.message,
            one.hardware_id,
            tuple((pair.key, pair.value) for pair in one.values),
        )
        for one in read.status
    ]
    assert found == [tuple(one) for one in drawn]


@settings(deadline=None)
@given(texts, st.integers(0, 100))
def test_a_disparity_is_read_by_rosbags_and_written_by_it_in_the_same_bytes(
    store: Any, frame_id: str, number: int
) -> None:
    message = disparity(number, frame_id)
    kind = "stereo_msgs/msg/DisparityImage"
    data = encode(message)
    read = store.deserialize_cdr(data, kind)
    assert read.header.frame_id == frame_id and read.header.stamp.sec == message.header.stamp.sec
    assert (read.f, read.T if hasattr(read, "T") else read.t) == pytest.approx((721.5, 0.54))
    assert (read.valid_window.x_offset, read.valid_window.width) == (1, 3)
    assert (read.min_disparity, read.max_disparity, read.delta_d) == (0.0, 192.0, 0.125)
    assert (read.image.height, read.image.width, read.image.step, read.image.encoding) == (3, 4, 16, "32FC1")
    assert bytes(read.image.data) == message.image.data
    assert bytes(store.serialize_cdr(read, kind)) == data


def record(path: Path, frames: int) -> None:
    with Recording(path) as recording:
        for number in range(frames):
            message = disparity(number)
            recording.add("/edgekit/disparity", message, message.header.stamp.nanoseconds)
            if number % 20 == 0:
                status = DiagnosticStatus(0, "edgekit", "fine", "", (KeyValue("stage", "stage4"),))
                recording.add("/diagnostics", diagnosis(status), message.header.stamp.nanoseconds)


def test_a_recording_is_read_by_the_mcap_library_from_its_own_definitions(
    needs: Needs, tmp_path: Path
) -> None:
    reader, decoder = needs("mcap.reader"), needs("mcap_ros2.decoder").DecoderFactory()
    record(tmp_path / "run.mcap", 70)
    with open(tmp_path / "run.mcap", "rb") as stream:
        opened = reader.make_reader(stream, decoder_factories=[decoder], validate_crcs=True)
        summary = opened.get_summary()
        assert opened.get_header().profile == "ros2"
        assert {channel.topic for channel in summary.channels.values()} == {
            "/edgekit/disparity",
            "/diagnostics",
        }
        assert summary.statistics.message_count == 74
        assert len(summary.chunk_indexes) == summary.statistics.chunk_count > 1
        disparities = _decoded(opened, "/edgekit/disparity")
        later = _decoded(opened, "/edgekit/disparity", start=1700000002 * SECOND)
    assert len(disparities) == 70 and len(later) == 30
    values = np.frombuffer(bytes(disparities[5].image.data), np.float32)
    np.testing.assert_array_equal(values, np.arange(12, dtype=np.float32) + 5)
    assert disparities[5].header.frame_id == "left" and disparities[5].t == pytest.approx(0.54)


def test_of_a_run_that_was_killed_all_but_the_last_second_can_be_read(needs: Needs, tmp_path: Path) -> None:
    record(tmp_path / "run.mcap", 70)
    data = (tmp_path / "run.mcap").read_bytes()
    recording = Recording(tmp_path / "killed.mcap")
    for number in range(70):
        recording.add("/edgekit/disparity", disparity(number), disparity(number).header.stamp.nanoseconds)
    killed = (tmp_path / "killed.mcap").read_bytes()
    assert len(killed) < len(data)
    found = 0
    for record_read in needs("mcap.stream_reader").StreamReader(io.BytesIO(killed)).records:
        found += type(record_read).__name__ == "Message"
        if found == 60:
            break
    assert found == 60 and CHUNK_NS == SECOND
    recording.close()


def test_a_topic_keeps_its_type_and_a_closed_recording_takes_nothing(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "run.mcap")
    recording.add("/a", disparity(0), 1)
    with pytest.raises(EdgekitError, match=type_name(Header)):
        recording.add("/a", Header(), 2)
    recording.close()
    recording.close()
    with pytest.raises(EdgekitError, match="closed"):
        recording.add("/a", disparity(0), 1)


def test_a_recording_of_nothing_is_a_recording(needs: Needs, tmp_path: Path) -> None:
    Recording(tmp_path / "empty.mcap").close()
    with open(tmp_path / "empty.mcap", "rb") as stream:
        assert needs("mcap.reader").make_reader(stream).get_summary().statistics.message_count == 0


def _decoded(opened: Any, topic: str, start: int | None = None) -> list[Any]:
    within = {} if start is None else {"starting_at": start}
    return [decoded for _, _, _, decoded in opened.iter_decoded_messages(topics=[topic], **within)]
