"""The commands that join `flowkit`: train, evaluate, predict, report, recipes, flash-mnist."""
