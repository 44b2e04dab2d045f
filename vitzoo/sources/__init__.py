"""Sources: where bytes come from, verified before they are used."""
