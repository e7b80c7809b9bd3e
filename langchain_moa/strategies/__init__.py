"""What the aggregations, filters and stop conditions are made of."""
