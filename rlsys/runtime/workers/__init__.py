"""What runs in the processes of a run, and how they reach each other: workers, their hosts, the calls between them."""
