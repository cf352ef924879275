"""Reports on disk: in any format of the command line, or as a folder with a Parquet file a table and ``report.json``, which says what wrote it.

The files in the folder are those of ``--format parquet`` (:mod:`analyzer.report.formats.parquet` writes both), but exact: Parquet text is UTF-8, and a
column that holds octets which were none (lone surrogates here) is stored as binary, so that nothing is lost; the reader tells by the
column's type.
"""

from __future__ import annotations

import json
import stat
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from analyzer.collecting import uncollected
from analyzer.errors import CaptureNotFound, CaptureUnreadable, NotACapture, OutputError, UsageError, comes_with
from analyzer.model import MASK
from analyzer.places import missing_folder, reason, status_of
from analyzer.report.columns import TABLES
from analyzer.report.formats import BINARY, FOLDER, SUFFIXES, TEXT_SUFFIXES, Job
from analyzer.report.formats import TABLES as ALL_TABLES
from analyzer.report.formats import load as load_format
from analyzer.report.formats._file import write_file
from analyzer.report.formats._folder import whole_folder
from analyzer.report.formats.parquet import TableWriter, array_of, schema_of
from analyzer.report.frames import frame_of_columns
from analyzer.report.results import is_result, load_result

if TYPE_CHECKING:
    import pandas as pd

    from analyzer.report.tables import Report

#: What ``report.json`` says of itself, and the version of the layout. Columns and tables may be added without a new version.
FORMAT: Final = "mailtap report"
SCHEMA_VERSION: Final = 1
MANIFEST: Final = "report.json"
#: The format that :func:`load` reads back, nothing lost.
FOLDER_FORMAT: Final = "parquet"


def save(report: Report, path: str | Path, form: str | None = None, table: str = "sessions") -> Path:
    """See :meth:`analyzer.report.tables.Report.save`."""
    place = Path(path)
    ending = place.suffix.lower()
    if form is None:
        # What tells no format may well be the end of a folder's name: a date, a host.
        form = SUFFIXES.get(ending) or ("text" if ending and ending in TEXT_SUFFIXES else FOLDER_FORMAT)
    if form == FOLDER_FORMAT:
        return _save_folder(report, place)
    return _save_as(report, place, form, table)


def _save_as(report: Report, place: Path, form: str, table: str) -> Path:
    """Write the report in a format of the command line's."""
    from analyzer import __version__

    writer = load_format(form)
    if table not in TABLES:
        raise UsageError(f"there is no table {table!r}; tables: {', '.join(TABLES)}")
    if report.result is None or report.maker is None:
        raise UsageError(
            f"{place}: {form} is made of the records of a run, and this report holds tables alone, as it was read back, joined or narrowed "
            "down: save it into a folder, or write the report of analyzer.analyze(...), whose filter(since=..., until=...) keeps the records"
        )
    job = Job(report.result, report.maker, __version__, table)
    private = report.maker.show_secrets
    folder = writer.KIND == FOLDER or (writer.KIND == ALL_TABLES and place.suffix.lower() != ".csv")
    _check_way(place, folder)
    try:
        if folder:
            with uncollected():
                writer.write_folder(job, place)
        else:
            status = status_of(place, OutputError)
            if status is not None and stat.S_ISDIR(status.st_mode):
                raise UsageError(f"{place} is a folder, and {form} is written into one file: name a file in it")
            with uncollected():
                write_file(place, partial(writer.write, job), writer.KIND == BINARY, private)
    except OSError as error:
        raise OutputError(f"{place}: the report could not be written ({reason(error)})") from None
    return place


def _check_way(place: Path, folder: bool) -> None:
    """Whether something new can stand at a place; folders are made with those on the way."""
    missing = missing_folder(place, OutputError, makes_folders=folder)
    if missing is not None:
        raise OutputError(f"{place}: the report could not be written, for there is no folder {missing}; make it first")


def _save_folder(report: Report, place: Path) -> Path:
    """Write a folder of Parquet."""
    from analyzer import __version__

    _pyarrow("pyarrow.parquet")
    _check_way(place, True)
    tables = report.tables
    manifest = {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "mailtap": __version__,
        "rows": {name: len(frame) for name, frame in tables.items()},
        "warnings": report.warnings,
        "sealed": dict(report.sealed),
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
        raise OutputError(f"{place}: the report could not be written ({reason(error)})") from None
    return place


def _holds_secrets(credentials: pd.DataFrame) -> bool:
    """Whether a table of credentials has any secret in clear."""
    secrets = credentials["secret"].dropna()
    return bool((secrets != MASK).any() or credentials["response"].notna().any())


def load(folder: str | Path) -> Report:
    """Read a report that :meth:`analyzer.Report.save` wrote into a folder, or a JSON result.

    Raises:
        CaptureNotFound: there is no such folder or file.
        NotACapture: it holds no report of mailtap, or one of a later mailtap that this one cannot read.
        CaptureUnreadable: a file of it is missing, damaged or may not be read.
        UsageError: pyarrow is not installed (``pip install "mailtap[parquet]"``).
    """
    from analyzer.report.tables import Report

    place = Path(folder)
    status = status_of(place, CaptureUnreadable)
    if status is None:
        raise CaptureNotFound(f"{place}: there is no such folder; name one that report.save() wrote")
    if not stat.S_ISDIR(status.st_mode):
        if is_result(place):
            return load_result(place)
        raise NotACapture(
            f"{place}: neither a folder that report.save() wrote, nor a JSON result, nor a store of mailtap monitor; "
            "captures are read by analyzer.analyze()"
        )
    parquet = _pyarrow("pyarrow.parquet")
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
    return Report(frames=frames, warnings=manifest["warnings"], sealed=manifest["sealed"])


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
    sealed = manifest.setdefault("sealed", {})
    if not isinstance(sealed, dict) or not all(isinstance(one, list) for one in sealed.values()):
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
