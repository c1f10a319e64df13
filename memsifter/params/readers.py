"""An entry of `datasets` becomes the reader that it names; readers are looked up when the first entry is validated."""

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Union

from pydantic import Field, GetJsonSchemaHandler, PlainValidator, SerializeAsAny, TypeAdapter, ValidationInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, to_json

from memsifter.params.data import DatasetParams


def reader_classes() -> Mapping[str, type[DatasetParams]]:
    """The reader classes by name. Imported late: they are built on `memsifter.params`, not the other way round."""
    from memsifter.datasets.registry import READERS

    return READERS


@cache
def _any_reader() -> TypeAdapter[Any]:
    members: Any = Union[tuple(reader_classes().values())]  # noqa: UP007
    return TypeAdapter(Annotated[members, Field(discriminator="reader")])


def _parse_dataset(values: Any, info: ValidationInfo) -> DatasetParams:
    # JSON has lists where the strict fields are tuples.
    is_json = info.mode == "json"
    parsed: DatasetParams = (
        _any_reader().validate_json(to_json(values)) if is_json else _any_reader().validate_python(values)
    )
    return parsed


class _SchemaOfReaders:
    """Makes the JSON schema of an entry that of all readers, for whoever documents the parameters."""

    def __get_pydantic_json_schema__(self, _: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(_any_reader().core_schema)


AnyDatasetParams = Annotated[SerializeAsAny[DatasetParams], PlainValidator(_parse_dataset), _SchemaOfReaders()]
"""One entry of `datasets`: the class that its `reader` names."""
