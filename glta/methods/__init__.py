"""The methods that the pipeline compares, behind one small interface."""
