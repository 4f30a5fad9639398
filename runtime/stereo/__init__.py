"""What a stereo camera's calibration makes of pictures and disparities: rectified rows, metres, points."""

from edgekit.runtime.stereo.camera_file import read_camera_files
from edgekit.runtime.stereo.geometry import Geometry
from edgekit.runtime.stereo.ply import write_ply
from edgekit.runtime.stereo.rectification import Rectified, Rectifier

__all__ = ["Geometry", "Rectified", "Rectifier", "read_camera_files", "write_ply"]
