"""What the gap is made of, and what closes it at what price: from the records of views beyond full and crop."""
