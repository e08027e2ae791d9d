"""Who runs where: the loop, and the engines it drives."""
