"""Evidence boxes from a model: from its attention, or from its answer to a request for a box."""
