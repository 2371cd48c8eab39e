"""Stand-in for a module that tfx-bsl 1.21 dropped with its ZetaSQL dependency.

tensorflow-data-validation 1.16 imports it at start-up and uses it only for slices given as SQL.
Installed into tfx_bsl's own folder, it serves every entry point alike: the `tfx` command, Beam workers,
notebooks, and a bare `import tensorflow_data_validation`.
"""


class RecordBatchSQLSliceQuery:
    """Refuses SQL slices, the only feature that is lost."""

    def __init__(self, sql: str, arrow_schema: object) -> None:
        raise RuntimeError(
            f"slicing statistics by SQL ({sql!r}) needs ZetaSQL, which tfx-bsl 1.21 no longer holds; "
            "slice by feature with slice_functions instead"
        )
