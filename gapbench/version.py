"""The version of this package, as manifests, reports and the wheel state it."""

VERSION = "0.1.0"
