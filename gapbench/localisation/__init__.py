"""Evidence boxes that a model finds: by its attention, or by naming a box."""
