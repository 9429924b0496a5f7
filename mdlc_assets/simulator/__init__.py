"""A world of card payments to try things on, and the incidents that befall its files."""
