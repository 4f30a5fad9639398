"""The bundle: a directory with everything a device needs to run one network, written whole and read only if unchanged."""

import errno
import hashlib
import io
import os
import zipfile
from typing import Dict, Mapping, NamedTuple, Union

from edgekit import atomic
from edgekit.errors import BundleError, OptionError
from edgekit.manifest import (
    SCHEMA,
    CalibrationSpec,
    ExitSpec,
    FileEntry,
    Float16,
    InputSpec,
    LayerSpec,
    Manifest,
    NetworkSpec,
    Preprocessing,
    StageSpec,
    TensorSpec,
    Variant,
    check,
    check_path,
    encode,
)
from edgekit.manifest_reading import decode

__all__ = [
    "SCHEMA", "Bundle", "CalibrationSpec", "ExitSpec", "FileEntry", "Float16", "InputSpec", "LayerSpec", "Manifest", "NetworkSpec", "Preprocessing", "StageSpec", "TensorSpec", "Variant",
    "amend_bundle", "check_destination", "read_bundle", "write_bundle",
]  # fmt: skip

MANIFEST = "manifest.json"
MADE_ON_THE_DEVICE = ("engines", "profiles")
SOURCES = (".py", ".c", ".h")  # what an archive of the runtime is made of

# Runs on whatever `python3` is: parsed by every Python 3, and says so where that is too old. The archive is checked
# before anything is imported from it.
MAIN = '''"""Runs this bundle where nothing was installed: python3 BUNDLE inspect|verify|build|bench|run|doctor."""

import hashlib
import json
import os
import sys

bundle = os.path.dirname(os.path.abspath(__file__))
archive = os.path.join(bundle, "runtime.zip")
if sys.version_info < (3, 6):
    sys.exit("edgekit needs Python 3.6 or newer, this is " + sys.version.split()[0])
try:
    for needed in ("manifest.json", "runtime.zip"):
        if not os.path.isfile(os.path.join(bundle, needed)):
            raise ValueError(needed)
    with open(os.path.join(bundle, "manifest.json"), "rb") as file:
        expected = json.loads(file.read().decode("utf-8"))["files"]["runtime.zip"]["sha256"]
    with open(archive, "rb") as file:
        intact = hashlib.sha256(file.read()).hexdigest() == expected
except (OSError, ValueError, KeyError, TypeError) as error:
    intact = False
if not intact:
    sys.stderr.write(bundle + ": runtime.zip or manifest.json is missing or damaged; copy the bundle again\\n")
    sys.exit(2)
sys.path[0] = archive
from edgekit.cli import main  # noqa: E402

sys.exit(main(bundle=bundle))
'''


class Bundle(NamedTuple):
    """A bundle on disk: the directory and what its manifest says."""

    path: str
    manifest: Manifest

    def read_bytes(self, name: str) -> bytes:
        """The content of the file ``name`` (relative, with slashes).

        Raises:
            BundleError: the bundle has no such file, or it is missing or changed since it was written.
        """
        entry = self.manifest.files.get(name)
        if entry is None:
            raise BundleError(f"{self.path}: has no file {name!r}")
        place = os.path.join(self.path, *name.split("/"))
        try:
            data = atomic.read_file(place)
        except OSError as error:
            raise BundleError(f"{place}: {_reason(error)}; copy the bundle again") from error
        if len(data) != entry.bytes or hashlib.sha256(data).hexdigest() != entry.sha256:
            raise BundleError(f"{place}: damaged, its hash is not the manifest's; copy the bundle again")
        return data

    def read_graph(self, name: str) -> bytes:
        """The ONNX file of the graph ``name``, its weights put back where they lie elsewhere as bits.

        Raises:
            BundleError: the graph, or the file its weights are in, is missing or damaged.
        """
        from edgekit import packed  # it needs numpy, which opening a bundle does not

        data = self.read_bytes(name)
        return (
            packed.expand(data, self.read_bytes, self.path + "/" + name) if packed.is_packed(data) else data
        )


def read_bundle(path: "Union[str, os.PathLike[str]]", check: str = "size") -> Bundle:
    """Open the bundle at ``path``.

    Args:
        path: the bundle's directory.
        check: ``size`` looks whether every file is there with its size, and leaves the hashes to `Bundle.read_bytes`;
            ``hash`` reads every file.

    Raises:
        BundleError: no bundle, of a newer schema, incomplete or damaged.
        OptionError: ``check`` is something else.
    """
    if check not in ("size", "hash"):
        raise OptionError(f"check={check!r}: must be 'size' or 'hash'")
    if not isinstance(path, (str, bytes, os.PathLike)):
        raise OptionError(f"{path!r} is not the path of a bundle")
    path = os.path.abspath(os.fsdecode(path))
    source = os.path.join(path, MANIFEST)
    try:
        manifest = decode(atomic.read_file(source), source)
    except OSError as error:
        if not os.path.isdir(path):
            what = "is no directory" if os.path.lexists(path) else "does not exist"
            raise BundleError(f"bundle {path} {what}; `edgekit export` writes one") from error
        raise BundleError(f"{source}: {_reason(error)}; no bundle, or an incomplete one") from error
    _check_listed(manifest, source)
    bundle = Bundle(path, manifest)
    for name, entry in manifest.files.items():
        if check == "hash":
            bundle.read_bytes(name)
        else:
            _check_size(os.path.join(path, *name.split("/")), entry.bytes)
    return bundle


def write_bundle(
    path: "Union[str, os.PathLike[str]]",
    manifest: Manifest,
    files: Mapping[str, bytes],
    overwrite: bool = False,
) -> Bundle:
    """Write a bundle in one step: it is there whole, or nothing of it is.

    Args:
        path: the directory to create, such as ``anynet.edgekit``.
        manifest: its ``files`` is ignored and filled in.
        files: graphs and golden arrays by relative path; ``__main__.py``, ``runtime.zip`` and ``manifest.json`` are added.
        overwrite: replace the bundle that is there.

    Raises:
        BundleError: something is there and ``overwrite`` is false, or it is no bundle; the directory cannot be written or
            the disk is full; the manifest contradicts itself or ``files``.
    """
    path = os.path.realpath(os.fspath(path))
    atomic.clean(path)
    check_destination(path, overwrite)
    for name in files:
        check_path(name, path)
        if name in (MANIFEST, "__main__.py", "runtime.zip") or name.split("/")[0] in MADE_ON_THE_DEVICE:
            raise BundleError(f"{path}: {name!r} is a name that edgekit uses itself")
    contents = dict(files)
    contents["__main__.py"] = MAIN.encode("ascii")
    contents["runtime.zip"] = runtime_archive()
    hashes = {
        name: FileEntry(hashlib.sha256(data).hexdigest(), len(data))
        for name, data in sorted(contents.items())
    }
    manifest = manifest._replace(files=hashes, schema=SCHEMA)
    check(manifest, path)
    _check_listed(manifest, path)
    contents[MANIFEST] = encode(manifest)
    try:
        atomic.write_directory(path, contents, overwrite)
    except FileExistsError as error:
        raise BundleError(f"{path} appeared while the bundle was made; choose another name") from error
    except OSError as error:
        size = sum(len(data) for data in contents.values())
        advice = (
            f"free {size / 1e6:.1f} MB"
            if error.errno in (errno.ENOSPC, errno.EDQUOT)
            else "choose another place"
        )
        raise BundleError(f"{path} cannot be written: {_reason(error)}; {advice}") from error
    return Bundle(path, manifest)


def amend_bundle(bundle: Bundle, manifest: Manifest, files: Mapping[str, bytes]) -> Bundle:
    """Give a bundle another manifest and further files; whoever reads it meanwhile sees the old or the new one, whole.

    Args:
        bundle: as it was read.
        manifest: its ``files`` are those of the bundle to keep; the others are removed once the new manifest is there.
        files: further files by relative path, none of which the bundle has yet.

    Raises:
        BundleError: the bundle has changed since it was read, or cannot be written; it is as it was before.
    """
    source = os.path.join(bundle.path, MANIFEST)
    before = _content(source)
    if decode(before, source) != bundle.manifest:
        raise BundleError(f"{source} was changed by another program meanwhile; do the same once more")
    added = {name: FileEntry(hashlib.sha256(data).hexdigest(), len(data)) for name, data in files.items()}
    manifest = manifest._replace(files=dict(sorted({**manifest.files, **added}.items())))
    check(manifest, source)
    _check_listed(manifest, source)
    places = {name: os.path.join(bundle.path, *name.split("/")) for name in [*files, *bundle.manifest.files]}
    try:
        for name, data in files.items():
            os.makedirs(os.path.dirname(places[name]), exist_ok=True)
            atomic.write_file(places[name], data)
        atomic.write_file(source, encode(manifest))
    except BaseException as error:
        unused = [places[name] for name in files if name not in bundle.manifest.files]
        for place in unused if _content(source) == before else ():
            if os.path.isfile(place):
                os.unlink(place)
        if isinstance(error, OSError):
            raise BundleError(
                f"{bundle.path} cannot be written: {_reason(error)}; it is as it was before"
            ) from error
        raise
    for name in bundle.manifest.files:
        if name not in manifest.files:
            os.unlink(places[name])
    return Bundle(bundle.path, manifest)


def check_destination(path: "Union[str, os.PathLike[str]]", overwrite: bool = False) -> None:
    """Refuse a place where no bundle can be written, before the slow work of making one.

    Raises:
        BundleError: the directory around it is missing or not writable, something is there and ``overwrite`` is false, or
            what is there is no bundle.
    """
    path = os.path.realpath(os.fspath(path))
    parent = os.path.dirname(path)
    if not os.path.isdir(parent):
        raise BundleError(f"{path} cannot be written: the directory {parent} does not exist")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise BundleError(f"{path} cannot be written: the directory {parent} is not writable")
    if not os.path.lexists(path):
        return
    empty = os.path.isdir(path) and os.access(path, os.R_OK) and not os.listdir(path)
    if not empty and not os.path.isfile(os.path.join(path, MANIFEST)):
        raise BundleError(
            f"{path} exists and is not a bundle, so it is never overwritten; choose another name"
        )
    if not overwrite:
        raise BundleError(f"{path} exists; choose another name, or replace it (--force, or overwrite=True)")


def runtime_archive() -> bytes:
    """The front door and the runtime as an importable zip; the same sources give the same bytes.

    Raises:
        BundleError: the sources are not there as files.
    """
    package = os.path.dirname(os.path.abspath(__file__))
    sources: Dict[str, bytes] = {}
    for room in ("", "kernels", "runtime"):
        # edgekit/runtime is a link to ../runtime in a checkout and a directory in an installation: walk() follows a root.
        for directory, subdirectories, names in os.walk(os.path.join(package, room)):
            if not room:
                del subdirectories[:]
            for name in names:
                if name.endswith(SOURCES):
                    inside = os.path.relpath(os.path.join(directory, name), package).replace(os.sep, "/")
                    with open(os.path.join(directory, name), "rb") as file:
                        sources["edgekit/" + inside] = file.read()
    if "edgekit/__init__.py" not in sources or "edgekit/runtime/__init__.py" not in sources:
        raise BundleError(
            f"edgekit's sources are not in {package}; export from an installed edgekit or a checkout"
        )
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        for name in sorted(sources):
            entry = zipfile.ZipInfo(name)  # dated 1980, so that nothing depends on when it was made
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            zipped.writestr(entry, sources[name])
    return archive.getvalue()


def _check_listed(manifest: Manifest, source: str) -> None:
    needed = [variant.graph for stage in manifest.stages for variant in stage.variants]
    record = [] if manifest.calibration is None else [manifest.calibration.record]
    for name in needed + [manifest.golden] + record:
        if name not in manifest.files:
            raise BundleError(f"{source}: the file {name!r} is used but not listed")


def _content(place: str) -> bytes:
    try:
        return atomic.read_file(place)
    except OSError as error:
        raise BundleError(f"{place}: {_reason(error)}; copy the bundle again") from error


def _check_size(place: str, size: int) -> None:
    if not os.path.isfile(place):
        raise BundleError(f"{place}: missing; copy the bundle again")
    found = os.path.getsize(place)
    if found != size:
        raise BundleError(f"{place}: has {found} bytes, the manifest says {size}; copy the bundle again")


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
