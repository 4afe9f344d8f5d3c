"""Commands that training adds to `flowkit`: train, evaluate, predict, features and others."""
