"""Trains scikit-learn's IsolationForest, fits the guards beside it, and writes the forest file that Lonetree scores with."""
