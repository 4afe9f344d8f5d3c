"""Export stores to the formats of other tools, and import what those tools wrote."""
