"""Reference filters: what is done with a layer's references before anyone reads them. A module here is one, found by name."""
