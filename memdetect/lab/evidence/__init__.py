"""The bench of evidence: damaged copies of real pictures, and pictures that are none, judged by an index."""
