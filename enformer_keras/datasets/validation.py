"""Pydantic's errors in the words of `DatasetError`."""

import pydantic


def describe_validation_error(where: str, error: pydantic.ValidationError) -> list[str]:
    """Turns a pydantic error into one line for each wrong field.

    Args:
        where: file, or file and row, that was validated.
        error: what pydantic raised.

    Returns:
        Lines such as `dataset.yaml: window_length: Input should be greater than 0 (got -1)`.
    """
    fields: dict[str, list[str]] = {}
    got: dict[str, object] = {}
    for detail in error.errors(include_url=False):
        # A union (scale: number or `mean`) reports once for each of its members: one line says both.
        field = str(detail["loc"][0]) if detail["loc"] else ""
        if detail["type"] == "extra_forbidden":
            message = "unknown field; remove it or correct its spelling"
            field = ".".join(map(str, detail["loc"]))
        elif detail["type"] == "missing":
            field = ".".join(map(str, detail["loc"]))
            message = "is missing; add it"
        else:
            message = detail["msg"].removeprefix("Value error, ")
            got[field] = detail["input"]
        fields.setdefault(field, []).append(message)
    lines = []
    for field, messages in fields.items():
        value = f" (got {got[field]!r})" if field and field in got else ""
        prefix = f"{where}: {field}: " if field else f"{where}: "
        lines.append(f"{prefix}{'; or: '.join(dict.fromkeys(messages))}{value}")
    return lines
