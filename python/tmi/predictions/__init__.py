"""What models answered: arrays, what is seen of them, and the files that hold them."""
