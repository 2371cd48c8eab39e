"""How tracks are drawn, in every report."""
