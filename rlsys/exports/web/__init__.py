"""World models that leave the machine: one page that dreams in whatever browser opens it, and asks nobody."""
