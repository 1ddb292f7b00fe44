"""The one table. Every measurement of every run is a row of it; nothing else crosses from torch to statistics.

One row is one probe of one case under one cell (rung x method x setting x edit kind x seed). A cell that failed is one
row whose `error` says why. A NaN is "not measurable" and its `reason` says why; it is never a zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from editing.lazy import duckdb
from editing.lazy import pandas as pd
from editing.lazy import parquet as pq
from editing.lazy import pyarrow as pa
from valley.rows.compacted import without_leftovers
from valley.rows.kinds import SPECIFICITY
from valley.rows.run import SCHEMA_VERSION, RowsError, run_record

# name -> (pandas dtype, meaning). The order is the order in the file.
COLUMNS: dict[str, tuple[str, str]] = {
    "schema_version": ("int64", "version of this table"),
    "cell": ("string", "content hash of the cell: model, method, setting, cases, code schema"),
    "ladder": ("string", "name of the ladder"),
    "rung": ("string", "name of the rung, unique in its ladder"),
    "rung_index": ("int64", "place of the rung in its ladder, weakest first"),
    "run_seed": ("int64", "seed of the sweep"),
    "model": ("string", "model reference as written"),
    "model_source": ("string", "what it resolved to"),
    "model_hash": ("string", "hash of the weights"),
    "bits_per_byte_en": ("float64", "on the fixed English text; lower is stronger"),
    "bits_per_byte_fr": ("float64", "on the fixed French text"),
    "bits_per_byte_world_en": ("float64", "on short true English sentences, held back from every model grown here"),
    "bits_per_byte_world_fr": ("float64", "the same in French"),
    "parameters": ("float64", "number of parameters"),
    "parameters_without_embeddings": ("float64", "the same less embeddings and unembedding"),
    "known_rate_en": ("float64", "share of a fixed sample of world facts that the unedited model knows in English"),
    "known_rate_fr": ("float64", "the same in French"),
    "known_facts": ("float64", "number of facts in that sample"),
    "training_tokens": ("float64", "tokens the model was trained on, as its ladder or card states; NaN where unknown"),
    "n_layers": ("int64", "number of blocks"),
    "method": ("string", "name of the editing method"),
    "settings": ("string", "all its settings, JSON"),
    "site": ("string", "kind of the edited map: mlp, value, attn"),
    "lookup": ("string", "position of the key: subject_last, last"),
    "depth": ("float64", "edited layer as a fraction of the layer count"),
    "dose": ("float64", "factor of the edit's change; 1 is the edit as its method made it"),
    "edit_kind": ("string", "fact, rename, retarget"),
    "edit_lang": ("string", "language of the edit's prompts; transfer is from it to the language of a probe"),
    "dataset": ("string", "where the case comes from"),
    "case": ("string", "case id, the pairing key across rungs"),
    "subject": ("string", "what was edited; cluster of the bootstrap"),
    "relation": ("string", "relation of the case; cluster of the bootstrap"),
    "split": ("string", "dev (settings are chosen on it) or test (scores are reported on it)"),
    "known": ("boolean", "the unedited model knew the fact: at least two thirds of its prompts right"),
    "probe": ("string", "probe kind; empty in an error row"),
    "probe_index": ("int64", "place of the probe in its case"),
    "about": ("string", "subject the probe asks about"),
    "probe_relation": ("string", "relation the probe asks for"),
    "lang": ("string", "language of the probe"),
    "prompt": ("string", "text of the probe"),
    "answer": ("string", "what the edited model should say"),
    "old": ("string", "what the unedited model should say"),
    "rival": ("string", "what must not beat `answer`: the old object, in a neighbour's probe the edit's target"),
    "n_candidates": ("int64", "number of answers to choose from"),
    "pick_before": ("string", "best candidate before the edit"),
    "pick_after": ("string", "best candidate after the edit"),
    "hit_before": ("float64", "1 when `answer` was the best candidate before the edit"),
    "hit_after": ("float64", "1 when `answer` is the best candidate after the edit"),
    "value": ("float64", "the score in [0, 1], higher is better; NaN where not measurable"),
    "reason": ("string", "why `value` is NaN"),
    "margin_before": ("float64", "nats, score of `answer` minus the best other candidate, before"),
    "margin_after": ("float64", "nats, the same after"),
    "logp_before": ("float64", "nats, log P(answer | prompt) before"),
    "logp_after": ("float64", "nats, log P(answer | prompt) after"),
    "logp_old_before": ("float64", "nats, log P(old | prompt) before"),
    "logp_old_after": ("float64", "nats, log P(old | prompt) after"),
    "logp_rival_before": ("float64", "nats, log P(rival | prompt) before"),
    "logp_rival_after": ("float64", "nats, log P(rival | prompt) after"),
    "answer_tokens": ("float64", "tokens of `answer`"),
    "rival_tokens": ("float64", "tokens of `rival`"),
    "token_accuracy_before": (
        "float64",
        "share of the tokens of `answer` that are the likeliest, given those before, before",
    ),
    "token_accuracy_after": ("float64", "the same after"),
    "token_agreement": (
        "float64",
        "share of the places of `answer` where the likeliest token is the same before and after",
    ),
    "text_bits_before": ("float64", "drift: bits per byte of the text before"),
    "text_bits_after": ("float64", "drift: bits per byte of the text after"),
    "entropy_before": ("float64", "fluency: bits, weighted 2- and 3-gram entropy of the generated text, before"),
    "entropy_after": ("float64", "fluency: the same after"),
    "reference_score_before": ("float64", "fluency: TF-IDF cosine of the generated text and a reference, before"),
    "reference_score_after": ("float64", "fluency: the same after"),
    "text_before": ("string", "greedy continuation before the edit"),
    "text_after": ("string", "greedy continuation after the edit"),
    "exact_before": ("float64", "1 when the greedy continuation begins with `answer` or an alias, before"),
    "exact_after": ("float64", "the same after"),
    "edit_norm": ("float64", "Frobenius norm of the change over that of the changed weights"),
    "seconds_edit": ("float64", "wall time of the edit, share of its batch"),
    "seconds_eval": ("float64", "wall time of evaluating the case, share of its batch"),
    "extension": ("string", "hash of the extension of the run that the cell came with; empty for the run's own plan"),
    "versions": ("string", "torch, transformers and project versions, JSON"),
    "commit": ("string", "git commit of the project, '+dirty' when changed; version and content hash outside git"),
    "error": ("string", "why the cell failed; empty otherwise"),
}
# Differ between two runs that measured the same thing.
VOLATILE = ("seconds_edit", "seconds_eval", "commit", "versions", "extension")


# Came later than the first tables of this version: NaN where a file lacks them, a text empty, the dose FULL.
ADDED = (
    "dose",
    "extension",
    "edit_lang",
    "bits_per_byte_world_en",
    "bits_per_byte_world_fr",
    "parameters_without_embeddings",
    "known_rate_en",
    "known_rate_fr",
    "known_facts",
    "training_tokens",
    "rival",
    "logp_rival_before",
    "logp_rival_after",
    "answer_tokens",
    "rival_tokens",
    "token_accuracy_before",
    "token_accuracy_after",
    "token_agreement",
    "text_bits_before",
    "text_bits_after",
    "entropy_before",
    "entropy_after",
    "reference_score_before",
    "reference_score_after",
)


FULL = 1.0  # the dose of every row of a file that states none


def to_frame(records: list[dict]) -> pd.DataFrame:
    """`records` as a table of exactly COLUMNS; a missing value becomes NaN/NA or an empty string.

    Raises:
        RowsError: a record has a key that is no column.
    """
    unknown = {key for record in records for key in record} - set(COLUMNS)
    if unknown:
        raise RowsError(f"no such column in the rows table: {', '.join(sorted(unknown))}")
    frame = pd.DataFrame(records, columns=list(COLUMNS))
    for name, (dtype, _) in COLUMNS.items():
        column = frame[name]
        if dtype == "string":
            column = column.fillna("")
        elif dtype == "int64":
            column = column.fillna(SCHEMA_VERSION if name == "schema_version" else -1)
        elif name == "dose":
            column = column.fillna(FULL)
        frame[name] = column.astype(dtype)  # pyright: ignore[reportArgumentType, reportCallIssue]
    return frame


# The order of the table, rows of one case in the order of its probes.
ORDER = ("rung_index", "rung", "method", "settings", "edit_kind", "run_seed", "case", "dose", "probe_index")
REMEDY = "restore it, or delete it and run bench again"
PACKED_REMEDY = "this is a packed run: restore the file from its source"


def remedy(folder: str | Path) -> str:
    """What to do about a damaged cell file of a run folder: a packed run may be the only copy, so it is never to be
    deleted."""
    return PACKED_REMEDY if run_record(Path(folder)).get("packed") else REMEDY


def read_run(
    folder: str | Path, columns: Sequence[str] = tuple(COLUMNS), doses: bool = False, categories: bool = False
) -> pd.DataFrame:
    """The cells of a run folder (`FOLDER/cells/*.parquet`) as one table in a fixed order.

    Args:
        columns: names of COLUMNS to read; a table of a million rows takes gigabytes with all of them.
        doses: rows at every dose. Otherwise only those at dose 1, so that a mean over rows never mixes doses.
        categories: text columns as categories in alphabetical order, for judging large runs: less memory, and groups
            and selections go by numbers. Two such columns cannot be compared with each other.

    Raises:
        RowsError: no such folder, no finished cell, an unreadable file, a newer schema, no such column, an answer
            twice.
    """
    unknown = set(columns) - set(COLUMNS)
    if unknown:
        raise RowsError(f"no such column in the rows table: {', '.join(sorted(unknown))}")
    used = list(dict.fromkeys([*columns, *ORDER, "dataset"]))
    types = {name: _arrow_type(name) for name in used}
    table = pa.concat_tables([_read_file(file, types, doses) for file in cell_files(folder)])
    texts = [name for name in used if COLUMNS[name][0] == "string"]
    for name in texts:
        column = table.column(name)
        column = _alphabetical(column) if categories else column.cast(pa.string())
        table = table.set_column(used.index(name), name, column)
    rows = table.to_pandas(types_mapper={pa.string(): pd.StringDtype("pyarrow")}.get, self_destruct=True)
    del table
    rows = rows.astype({name: COLUMNS[name][0] for name in used if not (categories and name in texts)})
    keys = [
        (rows[name].astype("category").cat.codes if name in (*texts, "dose") else rows[name]).to_numpy()
        for name in (*ORDER, "dataset")
    ]
    order = np.lexsort(keys[::-1])
    _refuse_copies(folder, rows, keys, order)
    rows = rows[list(columns)]
    return rows if (np.diff(order) == 1).all() else rows.take(order).reset_index(drop=True)


def _refuse_copies(folder: str | Path, rows: pd.DataFrame, keys: Sequence[np.ndarray], order: np.ndarray) -> None:
    """Refuse a run that holds one answer twice, since every mean would count it twice.

    Args:
        keys: what names an answer, one array per column. order: of the rows, by these keys.

    Raises:
        RowsError: a cell file was copied within the folder, or two runs were put together without `merge`.
    """
    same = np.ones(max(len(order) - 1, 0), dtype=bool)
    for key in keys:
        placed = key[order]
        same &= placed[1:] == placed[:-1]
    if same.any():
        first = rows.iloc[order[same.argmax()]]
        raise RowsError(
            f"{folder}/cells: holds an answer twice (rung {first['rung']}, method {first['method']}, case "
            f"{first['case']}, probe {first['probe_index']}); delete the copied cell file, "
            "or bring runs together with `merge`"
        )


def _read_file(file: Path, types: Mapping[str, pa.DataType], doses: bool) -> pa.Table:
    """The columns `types` of one cell file; what an older file lacks is empty, NaN or FULL."""
    footer = _footer_of(file)
    stored = [name for name in footer.schema.names if name in types]
    texts = [name for name in stored if COLUMNS[name][0] == "string"]
    try:
        with pq.ParquetFile(file, metadata=footer, read_dictionary=texts) as opened:
            table = opened.read(stored)
        made = {}
        for name, kind in types.items():
            column = table.column(name) if name in stored else pa.chunked_array([pa.nulls(len(table), kind)])
            column = column if column.type == kind else column.cast(kind)
            filled = FULL if name == "dose" else "" if name in ADDED and COLUMNS[name][0] == "string" else None
            made[name] = column.fill_null(filled) if filled is not None and column.null_count else column
        table = pa.table(made)
    except (pa.ArrowException, OSError) as error:
        raise RowsError(f"{file}: not a readable Parquet file ({error}); {remedy(file.parent.parent)}") from error
    whole = doses or "dose" not in stored or bool((made["dose"].to_numpy() == FULL).all())
    return table if whole else table.filter(pa.array(made["dose"].to_numpy() == FULL))


def _arrow_type(name: str) -> pa.DataType:
    """How a column is read: texts as numbers of their different texts."""
    dtype = COLUMNS[name][0]
    if dtype == "string":
        return pa.dictionary(pa.int32(), pa.string())
    return {"int64": pa.int64(), "float64": pa.float64(), "boolean": pa.bool_()}[dtype]


def _alphabetical(texts: pa.ChunkedArray) -> pa.DictionaryArray:
    """A column of dictionaries as one whose different texts are in alphabetical order; a missing text is empty."""
    coded = texts.fill_null("").unify_dictionaries().combine_chunks()
    names = coded.dictionary.to_pylist()
    places = sorted(range(len(names)), key=names.__getitem__)
    number = np.empty(len(names), dtype="int32")
    number[places] = np.arange(len(names), dtype="int32")
    return pa.DictionaryArray.from_arrays(number[coded.indices.to_numpy()], coded.dictionary.take(pa.array(places)))


def connect() -> duckdb.DuckDBPyConnection:
    """A DuckDB database in memory that sees no variable of the program and draws no progress bar."""
    connection = duckdb.connect(":memory:", config={"python_enable_replacements": "false"})
    ((shown,),) = connection.execute("SELECT current_setting('enable_progress_bar')").fetchall()
    if shown:  # a notebook without ipywidgets has none, and refuses the setting
        connection.execute("SET enable_progress_bar = false")
    return connection


def select_rows(folder: str | Path, columns: Sequence[str] = tuple(COLUMNS)) -> str:
    """The SELECT that gives `columns` of all cells of a run folder, file by file; nothing is read before it is
    executed.

    Raises:
        RowsError: no such folder, no finished cell, an unreadable file, a newer schema.
    """
    files = cell_files(folder)
    stored: set[str] = set()
    for file in files:
        stored.update(_footer_of(file).schema.names)
    names = []
    for name in columns:
        text = COLUMNS[name][0] == "string"
        if name == "dose":
            names.append(f"{FULL}::DOUBLE AS dose" if name not in stored else f"coalesce(dose, {FULL}) AS dose")
        elif name not in stored:
            names.append(f"""{"''" if text else "NULL::DOUBLE"} AS "{name}\"""")
        else:
            names.append(f"""coalesce("{name}", '') AS "{name}\"""" if text and name in ADDED else f'"{name}"')
    listed = ", ".join("'" + str(file).replace("'", "''") + "'" for file in files)
    return f"SELECT {', '.join(names)} FROM read_parquet([{listed}], union_by_name = true)"


def cell_files(folder: str | Path) -> list[Path]:
    """The Parquet files of a run folder, by name.

    Raises:
        RowsError: no such folder, no finished cell, a run.json that is damaged or was changed by hand.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise RowsError(f"{folder}: no such run folder; make one with `python cli.py bench --out {folder}`")
    if not run_record(folder) and not (folder / "cells").is_dir():
        raise RowsError(f"{folder}: is no run folder (it has neither run.json nor cells); name one that bench made")
    files = without_leftovers(sorted((folder / "cells").glob("*.parquet")))
    if not files:
        raise RowsError(f"{folder}: no finished cell in it yet; run its `bench` command to the end")
    return files


def _footer_of(file: Path) -> pq.FileMetaData:
    """The footer of a cell file that fits the schema.

    Raises:
        RowsError: unreadable, of a newer version, other columns.
    """
    try:
        about = pq.read_metadata(file)
        names = about.schema.names
        version = -1
        if about.num_rows and "schema_version" in names:
            place = names.index("schema_version")
            versions = [about.row_group(i).column(place).statistics.max for i in range(about.num_row_groups)]
            version = int(max(versions))
    except Exception as error:
        raise RowsError(f"{file}: not a readable Parquet file ({error}); {remedy(file.parent.parent)}") from error
    if version > SCHEMA_VERSION:
        raise RowsError(f"{file}: written by a newer version (schema {version}, this is {SCHEMA_VERSION}); update")
    if version < SCHEMA_VERSION or set(names) | set(ADDED) != set(COLUMNS):
        raise RowsError(f"{file}: columns do not fit schema {SCHEMA_VERSION}; {remedy(file.parent.parent)}")
    return about


def preferred(rows: pd.DataFrame, when: str = "after") -> pd.Series:
    """1 where the answer is likelier than its rival, 0 where it is not, NaN where there is no rival.

    The mean over efficacy, paraphrase and neighbour probes is CounterFact's ES, PS and NS (Meng et al. 2022, section
    3.2). As in the published code, log-probabilities are means over the tokens of a text, and a draw is no success.
    """
    margin = _per_token(rows, "answer", when) - _per_token(rows, "rival", when)
    return (margin > 0).astype("float64").where(margin.notna())


def written(rows: pd.DataFrame) -> pd.Series:
    """1 where the greedy text behind a prompt begins with the answer after the edit, 0 where not; NaN where none was
    read, and where the answer is to stay and the unedited model did not write it."""
    stays = rows["probe"].isin(SPECIFICITY)
    return rows["exact_after"].astype("float64").where(~stays | (rows["exact_before"] == 1))


def picked(rows: pd.DataFrame) -> pd.Series:
    """The score of the candidates at the questions that `written` has a number for."""
    return rows["value"].astype("float64").where(written(rows).notna())


def probability_margin(rows: pd.DataFrame, when: str = "after") -> pd.Series:
    """P(answer) - P(rival), each the geometric mean over its tokens: CounterFact's EM, PM and NM; NaN where there is no
    rival."""
    answer, rival = (np.exp(_per_token(rows, which, when).to_numpy(dtype="float64")) for which in ("answer", "rival"))
    return pd.Series(answer - rival, index=rows.index)


def _per_token(rows: pd.DataFrame, which: str, when: str) -> pd.Series:
    logp = rows[f"logp_{when}" if which == "answer" else f"logp_{which}_{when}"]
    return logp / rows[f"{which}_tokens"]
