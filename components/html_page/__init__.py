"""What every report's page has: its head and style."""
