"""Looking ahead: search over a model that is given as functions, and a world model as an environment."""
