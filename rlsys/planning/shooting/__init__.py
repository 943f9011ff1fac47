"""Planning over sequences of actions: try many, keep the best, draw again around them (shooting methods)."""
