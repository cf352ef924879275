"""Reports on disk: a folder with a Parquet file a table and ``report.json``, which says what wrote it.

The files are those of ``--format parquet`` (:mod:`analyzer.report.formats.parquet` writes both), but exact: Parquet text is UTF-8, and a
column that holds octets which were none (lone surrogates here) is stored as binary, so that nothing is lost; the reader tells by the
column's type.
"""

from __future__ import annotations

import json
import stat
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from analyzer.errors import CaptureNotFound, CaptureUnreadable, NotACapture, OutputError, UsageError, comes_with
from analyzer.model import MASK
from analyzer.places import status_of
from analyzer.report.columns import TABLES
from analyzer.report.formats._folder import whole_folder
from analyzer.report.formats.parquet import TableWriter, array_of, schema_of
from analyzer.report.frames import frame_of_columns

if TYPE_CHECKING:
    import pandas as pd

    from analyzer.report.tables import Report

#: What ``report.json`` says of itself, and the version of the layout. Columns and tables may be added without a new version.
FORMAT: Final = "mailtap report"
SCHEMA_VERSION: Final = 1
MANIFEST: Final = "report.json"


def save(report: Report, folder: str | Path) -> Path:
    """See :meth:`analyzer.report.tables.Report.save`."""
    from analyzer import __version__

    _pyarrow("pyarrow.parquet")
    place = Path(folder)
    tables = report.tables
    manifest = {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "mailtap": __version__,
        "rows": {name: len(frame) for name, frame in tables.items()},
        "warnings": report.warnings,
    }
    try:
        # Without its manifest a folder is no report: it goes first and comes last.
        with whole_folder(place, private=_holds_secrets(tables["credentials"]), last=MANIFEST) as part:
            for name, frame in tables.items():
                writer = TableWriter(name, part / f"{name}.parquet", __version__)
                writer.write(_arrays(name, frame))
                writer.close()
            (part / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="ascii")
    except OSError as error:
        raise OutputError(f"{place}: the report could not be written ({error.strerror or error})") from None
    return place


def _holds_secrets(credentials: pd.DataFrame) -> bool:
    """Whether a table of credentials has any secret in clear."""
    secrets = credentials["secret"].dropna()
    return bool((secrets != MASK).any() or credentials["response"].notna().any())


def load(folder: str | Path) -> Report:
    """Read a report that :meth:`analyzer.Report.save` wrote.

    Raises:
        CaptureNotFound: there is no such folder.
        NotACapture: it is a file, holds no report of mailtap, or one of a later mailtap that this one cannot read.
        CaptureUnreadable: a file of it is missing, damaged or may not be read.
        UsageError: pyarrow is not installed (``pip install "mailtap[parquet]"``).
    """
    from analyzer.report.tables import Report

    parquet = _pyarrow("pyarrow.parquet")
    place = Path(folder)
    status = status_of(place, CaptureUnreadable)
    if status is None:
        raise CaptureNotFound(f"{place}: there is no such folder; name one that report.save() wrote")
    if not stat.S_ISDIR(status.st_mode):
        raise NotACapture(
            f"{place}: a file, not a folder that report.save() wrote; captures are read by analyzer.analyze()"
        )
    manifest = _manifest(place)
    frames: dict[str, pd.DataFrame] = {}
    for name in TABLES:
        path = place / f"{name}.parquet"
        if name not in manifest["rows"]:
            frames[name] = frame_of_columns(name, {}, 0)
            continue
        try:
            frames[name] = from_arrow(name, parquet.read_table(path, partitioning=None))
        except (OSError, ValueError, TypeError, LookupError, ArithmeticError) as error:
            raise CaptureUnreadable(
                f"{path}: missing or damaged ({str(error).splitlines()[0] if str(error) else error!r})"
            ) from None
        if len(frames[name]) != manifest["rows"][name]:
            raise CaptureUnreadable(
                f"{path}: {len(frames[name])} rows where {MANIFEST} says {manifest['rows'][name]}; save the report again"
            )
    return Report(frames=frames, warnings=manifest["warnings"])


def _manifest(place: Path) -> dict[str, Any]:
    path = place / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotACapture(f"{place}: no report of mailtap ({MANIFEST} is missing)") from None
    except OSError as error:
        raise CaptureUnreadable(f"{path}: cannot be read ({error.strerror or error})") from None
    except ValueError:
        raise NotACapture(f"{path}: not written by mailtap, or damaged") from None
    known = isinstance(manifest, dict) and manifest.get("format") == FORMAT
    if not known or not isinstance(manifest.get("rows"), dict) or not isinstance(manifest.get("warnings"), list):
        raise NotACapture(f"{path}: not written by mailtap, or damaged")
    if manifest.get("schema_version") != SCHEMA_VERSION:
        raise NotACapture(
            f"{place}: a report of layout {manifest.get('schema_version')}, written by mailtap {manifest.get('mailtap')}; this mailtap reads layout {SCHEMA_VERSION}"
        )
    return manifest


def to_arrow(table: str, frame: pd.DataFrame) -> Any:
    """A table as a ``pyarrow.Table`` with its documented types.

    Raises:
        UsageError: pyarrow is not installed.
    """
    from analyzer import __version__

    arrays = _arrays(table, frame)
    schema = schema_of(table, [array.type for array in arrays], __version__)
    return _pyarrow("pyarrow").Table.from_arrays(arrays, schema=schema)


def _arrays(table: str, frame: pd.DataFrame) -> list[Any]:
    """The columns of a frame, as :func:`~analyzer.report.formats.parquet.array_of` takes them."""
    arrays = []
    for column in TABLES[table]:
        series = frame[column.name]
        if column.kind == "list":
            values = series.tolist()
        else:
            if column.kind == "time":
                series = series.astype("int64").astype("object").where(series.notna(), None)
            values = series.astype("object").where(series.notna(), None).tolist()
        arrays.append(array_of(column, values, exact=True))
    return arrays


def from_arrow(table: str, data: Any) -> pd.DataFrame:
    """The reverse of :func:`to_arrow`; columns that are missing are there and empty, columns too many are left out."""
    arrow = _pyarrow("pyarrow")
    values: dict[str, list[Any]] = {}
    for column in TABLES[table]:
        if column.name not in data.column_names:
            continue
        stored = data.column(column.name)
        if column.kind == "time":
            stored = stored.cast(arrow.int64())
        cells = stored.to_pylist()
        if column.kind == "list":
            cells = [None if cell is None else [_decoded(item) for item in cell] for cell in cells]
        elif column.kind in ("text", "word"):
            cells = [_decoded(cell) for cell in cells]
        values[column.name] = cells
    return frame_of_columns(table, values, data.num_rows)


def _decoded(value: Any) -> Any:
    return value.decode("utf-8", "surrogatepass") if isinstance(value, bytes) else value


def _pyarrow(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise UsageError(
            f"saving and loading reports needs pyarrow, which is not installed; {comes_with('parquet')}"
        ) from None
