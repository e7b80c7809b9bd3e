"""How references are shown to the model that reads them."""
