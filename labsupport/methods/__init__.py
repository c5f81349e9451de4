"""Methods: each takes a trained network and gives back a cheaper one, its input left as it was."""
