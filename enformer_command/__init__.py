"""The command `enformer`: a thin layer over `enformer_keras`, imported when the work begins."""
