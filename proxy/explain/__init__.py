"""Why a model is listed, hidden or called: explanations from the functions that decide."""
