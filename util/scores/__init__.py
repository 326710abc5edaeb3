"""Scores of translated hands: metrics.py lists those of single hands, features.py and distances.py compare whole sets."""
