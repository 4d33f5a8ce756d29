"""What does a new plugin look like? Templates, and what makes a package of them."""
