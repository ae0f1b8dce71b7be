"""How the parameters of the audit look in the Prefect UI."""

from __future__ import annotations

from pydantic import GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema


class Tabs:
    """Annotation that makes a union of kinds come out well as tabs in the form.

    If the schema says ``oneOf``, the form (of Prefect 3.8) forgets at every redraw which tab was
    chosen, and guesses by the names of the fields that have a value; with ``anyOf`` it remembers.
    """

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Say ``anyOf`` instead of ``oneOf``."""
        schema = handler(core_schema)
        if "oneOf" in schema:
            schema["anyOf"] = schema.pop("oneOf")
        return schema
