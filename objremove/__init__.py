"""Remove objects from photos by naming them."""
