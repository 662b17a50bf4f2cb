"""Bodies of the native APIs of Gemini and Ollama."""

from __future__ import annotations

from proxy.cooperative import Cooperative
from proxy.guards import fold_name
from proxy.inference.request.body import check_path_model
from proxy.inference.request.json_body import JsonBody, check_names
from proxy.inference.request.json_fields import Field
from proxy.inference.request.model_fields import as_list
from proxy.inference.request.selections import Selections
from proxy.inference.request.short_outline import outline_of


class OllamaBody(JsonBody):
    """The body of a call whose response is a stream, unless it has `stream: false`."""

    @staticmethod
    def _requests_stream(value: bytes) -> bool:
        return value != b"false"


class GeminiBody(JsonBody):
    """The body of a call whose path names the model: it has none, or that of the path, as `models/ID`."""

    def _read_plain(self, body: bytes) -> bool:
        return False

    def _check(self, path_model: str, default_model: str, *, has_one_model_only: bool) -> Cooperative[None]:
        """Raises BadRequest and ValueError."""
        outline = outline_of(self._body, has_one_model_only=has_one_model_only)
        yield from outline.read()
        values = yield from outline.values_of(outline.start)
        check_names(values)
        selections = Selections(outline)
        fields = [Field(fold_name(name), *span) for name, span in values.items()]
        yield from selections.read(fields, has_model_in_path=True)
        for model in selections.models.of_path:
            check_path_model(path_model, model)
        self.model = path_model
        self.references = selections.references
        self._model_fields = selections.models.all
        further = (model for field in self._model_fields for model in as_list(field.models))
        self.models = tuple(dict.fromkeys([path_model, *further]))


class GeminiStreamBody(GeminiBody):
    """The body of a call whose path requests a stream."""

    is_stream = True
