"""Small parts that networks share."""
