"""Averages of the readings of a weather station."""
