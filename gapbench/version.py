"""The version of this package, for what writes it down: manifests, pages and the wheel."""

VERSION = "0.1.0"
